-- Gives a lease back and tells about it, if its owner holds it.
-- ARGV: owner, channel, message
local row = redis.call('HMGET', KEYS[1], 'v', 'r', 'lo')
if not row[1] or row[2] or row[3] ~= ARGV[1] then
    return 0
end
redis.call('HDEL', KEYS[1], 'lo', 'lu')
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
