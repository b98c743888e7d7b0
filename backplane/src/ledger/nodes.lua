-- Nodes that are alive: KEYS[1] orders their ids by the time at which they stop being so, KEYS[2] holds what they said, KEYS[3] what
-- is wished of them.

local alive, said, wishes, operation, keep = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

for _, id in ipairs(redis.call('ZRANGEBYSCORE', alive, '-inf', string.format('%.0f', now))) do
    redis.call('ZREM', alive, id)
    redis.call('HDEL', said, id)
    redis.call('HDEL', wishes, id)
end

local answer = {}

if operation == 'heartbeat' then
    local id, ttl, node = ARGV[3], tonumber(ARGV[4]), ARGV[5]
    redis.call('ZADD', alive, string.format('%.0f', now + ttl), id)
    redis.call('HSET', said, id, node)
    answer = { redis.call('HGET', wishes, id) or '' }
elseif operation == 'wish' then
    local id, wish = ARGV[3], ARGV[4]
    if redis.call('ZSCORE', alive, id) then
        redis.call('HSET', wishes, id, wish)
        answer = { id }
    end
else
    answer = redis.call('HVALS', said)
end

for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, keep)
end
return answer
