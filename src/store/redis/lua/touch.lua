-- Extends a live row's life. 0: gone; 1: done; 2: the row has other terms than those that were extended before.
-- ARGV: life, session, terms extended, 'keep'; or instead of 'keep': 'reseal', card, version of tokens (or empty), tokens
local row = redis.call('HMGET', KEYS[1], 'v', 'r', 'x')
if not row[1] or row[2] then
    return 0
end
if ARGV[4] == 'keep' and row[3] ~= ARGV[3] then
    return 2
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 's', ARGV[2], 'u', time[1] .. string.format('%03d', math.floor(time[2] / 1000)))
if ARGV[4] == 'reseal' then
    redis.call('HSET', KEYS[1], 'c', ARGV[5], 'x', ARGV[3])
    if ARGV[6] == row[1] then
        redis.call('HSET', KEYS[1], 't', ARGV[7])
    end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
