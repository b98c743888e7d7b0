-- What several coordinators share.
--
-- The leader: KEYS[1] is a hash with `id`, `term` and `expires`, Redis's time in milliseconds.
-- The quotas: KEYS[1] is the set of groups that were counted, KEYS[2] the places of one quota: ids of renders, all of
-- one score, so that they are in the order of their ids, which is that of their ages.

local operation, keep = ARGV[1], ARGV[2]

if operation == 'lead' then
    local key, id, seen, ttl = KEYS[1], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
    local leader = redis.call('HGET', key, 'id')
    local term = tonumber(redis.call('HGET', key, 'term') or '0')
    local expires, time = tonumber(redis.call('HGET', key, 'expires') or '0'), now()
    if leader and leader ~= id and expires > time then
        return { leader, whole(term) }
    end
    if leader ~= id or term < seen then
        term = math.max(term, seen) + 1
    end
    redis.call('HSET', key, 'id', id, 'term', whole(term), 'expires', whole(time + ttl))
    redis.call('PEXPIRE', key, keep)
    return { id, whole(term) }
end

if operation == 'resign' then
    if redis.call('HGET', KEYS[1], 'id') == ARGV[3] then
        redis.call('HSET', KEYS[1], 'expires', '0')
    end
    return {}
end

local counted, places, group = KEYS[1], KEYS[2], ARGV[3]

if operation == 'reserve' then
    local limit, oldest = tonumber(ARGV[4]), ARGV[5]
    if redis.call('SISMEMBER', counted, group) == 0 then
        return { 'uncounted' }
    end
    if oldest ~= '' then
        redis.call('ZREMRANGEBYLEX', places, '-', '(' .. oldest)
    end
    local taken, more = redis.call('ZCARD', places), 0
    for i = 6, #ARGV do
        if not redis.call('ZSCORE', places, ARGV[i]) then
            more = more + 1
        end
    end
    if taken + more > limit then
        return { 'full', whole(taken), redis.call('ZRANGE', places, 0, 0)[1] or '' }
    end
    for i = 6, #ARGV do
        redis.call('ZADD', places, 0, ARGV[i])
    end
    redis.call('PEXPIRE', places, keep)
    return { 'granted' }
end

if operation == 'free' then
    for i = 4, #ARGV do
        redis.call('ZREM', places, ARGV[i])
    end
    return {}
end

if operation == 'fill' then
    for i = 4, #ARGV do
        redis.call('ZADD', places, 0, ARGV[i])
    end
    redis.call('PEXPIRE', places, keep)
    return {}
end

if operation == 'counted' then
    redis.call('SADD', counted, group)
    return {}
end

return redis.error_reply('ERR unknown operation ' .. operation)
