-- The row as it is, and how many milliseconds it has left. Nothing if it is not there.
local row = redis.call('HMGET', KEYS[1], 's', 't', 'c', 'v', 'i', 'r', 'n', 'u', 'x')
if not row[4] then
    return false
end
row[10] = redis.call('PTTL', KEYS[1])
return row
