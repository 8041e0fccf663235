-- Takes the lease of a live row at a version. {0, 0}: gone; {2, 0}: another version; {3, ms}: held for so long at most;
-- {1, 1}: taken from a holder whose time ran out; {1, 0}: taken.
-- ARGV: version, owner, milliseconds
local row = redis.call('HMGET', KEYS[1], 'v', 'r', 'lu')
if not row[1] or row[2] then
    return {0, 0}
end
if row[1] ~= ARGV[1] then
    return {2, 0}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if row[3] and tonumber(row[3]) > now then
    return {3, tonumber(row[3]) - now}
end
redis.call('HSET', KEYS[1], 'lo', ARGV[2], 'lu', string.format('%.0f', now + ARGV[3]))
return {1, row[3] and 1 or 0}
