-- Writes the tokens half of a live row at a version. 0: gone; 1: done; 2: another version.
-- ARGV: version, version after, tokens, 'keep' or 'release', channel, message
local row = redis.call('HMGET', KEYS[1], 'v', 'r')
if not row[1] or row[2] then
    return 0
end
if row[1] ~= ARGV[1] then
    return 2
end
redis.call('HSET', KEYS[1], 't', ARGV[3], 'v', ARGV[2])
if ARGV[4] == 'release' then
    redis.call('HDEL', KEYS[1], 'lo', 'lu')
end
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1
