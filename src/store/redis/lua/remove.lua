-- Removes a row if it is as asked for, and tells about it. {0}: gone; {2}: not as asked for; {1, row…}: it was removed.
-- ARGV: channel, message (empty: none), 'live' or 'any', version (empty: any), terms it must carry, issued not after (empty: ever),
-- 'row' or 'terms': what of it is answered
local row = redis.call('HMGET', KEYS[1], 's', 't', 'c', 'v', 'i', 'r', 'n', 'u', 'x')
if not row[4] or (ARGV[3] == 'live' and row[6]) then
    return {0}
end
if ARGV[4] ~= '' and ARGV[4] ~= row[4] then
    return {2}
end
if ARGV[6] ~= '' and tonumber(row[5]) > tonumber(ARGV[6]) then
    return {2}
end
local function carries(term)
    for at = 1, #row[9], 32 do
        if row[9]:sub(at, at + 31) == term then
            return true
        end
    end
    return false
end
for at = 1, #ARGV[5], 32 do
    if not carries(ARGV[5]:sub(at, at + 31)) then
        return {2}
    end
end
row[10] = redis.call('PTTL', KEYS[1])
redis.call('DEL', KEYS[1])
if ARGV[2] ~= '' then
    redis.call('PUBLISH', ARGV[1], ARGV[2])
end
if ARGV[7] == 'terms' then
    return {1, {row[9]}}
end
return {1, row}
