-- Retires a live row for ARGV[1] milliseconds at most, or removes it if that is none. Answers it as it was; nothing if it is gone.
-- ARGV: milliseconds, channel, message
local row = redis.call('HMGET', KEYS[1], 's', 't', 'c', 'v', 'i', 'r', 'n', 'u', 'x')
if not row[4] or row[6] then
    return false
end
row[10] = redis.call('PTTL', KEYS[1])
if tonumber(ARGV[1]) == 0 then
    redis.call('DEL', KEYS[1])
else
    redis.call('HSET', KEYS[1], 'r', '1')
    if tonumber(ARGV[1]) < row[10] then
        redis.call('PEXPIRE', KEYS[1], ARGV[1])
    end
end
redis.call('PUBLISH', ARGV[2], ARGV[3])
return row
