-- Nodes that are alive: KEYS[1] orders their ids by the time at which they stop being so, KEYS[2] holds what they said.

local alive, said, operation, keep = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

if operation == 'heartbeat' then
    local id, ttl, node = ARGV[3], tonumber(ARGV[4]), ARGV[5]
    redis.call('ZADD', alive, string.format('%.0f', now + ttl), id)
    redis.call('HSET', said, id, node)
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', alive, '-inf', string.format('%.0f', now))) do
    redis.call('ZREM', alive, id)
    redis.call('HDEL', said, id)
end
redis.call('PEXPIRE', alive, keep)
redis.call('PEXPIRE', said, keep)

if operation == 'heartbeat' then
    return {}
end
return redis.call('HVALS', said)
