-- Writes a tombstone; of two the later stays.
-- ARGV: issued not after, milliseconds
local before = redis.call('GET', KEYS[1])
local stays = ARGV[1]
if before and tonumber(before) > tonumber(stays) then
    stays = before
end
redis.call('SET', KEYS[1], stays, 'PX', ARGV[2])
return 1
