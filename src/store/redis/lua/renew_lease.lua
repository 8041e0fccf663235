-- Extends a lease that is still held. 0: the row is gone; 1: done; 2: the lease is lost.
-- ARGV: version, owner, milliseconds
local row = redis.call('HMGET', KEYS[1], 'v', 'r', 'lo', 'lu')
if not row[1] or row[2] then
    return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if row[1] ~= ARGV[1] or row[3] ~= ARGV[2] or tonumber(row[4]) <= now then
    return 2
end
redis.call('HSET', KEYS[1], 'lu', string.format('%.0f', now + ARGV[3]))
return 1
