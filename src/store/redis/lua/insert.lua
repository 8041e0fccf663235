-- Writes a row unless one is there. Answers when it was created, in microseconds; nothing if one is there.
-- ARGV: session, tokens, card, version, issued at, life, terms, created at (empty: now), touched at (empty: now)
if redis.call('EXISTS', KEYS[1]) == 1 then
    return false
end
local time = redis.call('TIME')
local created, touched = ARGV[8], ARGV[9]
if created == '' then
    created = time[1] .. string.format('%06d', time[2])
end
if touched == '' then
    touched = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
end
redis.call('HSET', KEYS[1], 's', ARGV[1], 't', ARGV[2], 'c', ARGV[3], 'v', ARGV[4], 'i', ARGV[5], 'x', ARGV[7],
    'n', created, 'u', touched)
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return created
