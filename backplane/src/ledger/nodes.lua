-- Nodes that are alive: KEYS[1] orders their ids by the time at which they stop counting as alive, KEYS[2] holds their last reports,
-- KEYS[3] the newest command for each.

local alive, reports, commands, operation, lifetime = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

for _, id in ipairs(redis.call('ZRANGEBYSCORE', alive, '-inf', string.format('%.0f', now))) do
    redis.call('ZREM', alive, id)
    redis.call('HDEL', reports, id)
    redis.call('HDEL', commands, id)
end

local answer = {}

if operation == 'heartbeat' then
    local id, ttl, node = ARGV[3], tonumber(ARGV[4]), ARGV[5]
    redis.call('ZADD', alive, string.format('%.0f', now + ttl), id)
    redis.call('HSET', reports, id, node)
    answer = { redis.call('HGET', commands, id) or '' }
elseif operation == 'command' then
    local id, command = ARGV[3], ARGV[4]
    if redis.call('ZSCORE', alive, id) then
        redis.call('HSET', commands, id, command)
        answer = { id }
    end
else
    answer = redis.call('HVALS', reports)
end

for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, lifetime)
end
return answer
