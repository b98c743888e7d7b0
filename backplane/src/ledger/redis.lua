-- The ledger's state machine. One hash holds one render:
--
--   open            1
--   cancelled       1, if it is
--   paused          1, if it is
--   term            the newest term of a scheduler that read it
--   revision        a number that each call which writes increases; it begins with the time in microseconds, so that no
--                   two entries of the same render share one
--   {step}          attempt until done total worker: the newest attempt; until is Redis's time in milliseconds, or 0 once
--                   the lease was ended; worker is `.` if nobody's
--   {step}:result   what was committed
--   {step}:by       the call that committed it
--   {step}:failures failed attempts, a JSON object a line
--   {step}:failed   the attempt that failed last
--   {step}:log      `claimed attempt time worker` and `ended attempt time how`, a line each
--
-- KEYS[1] is the render. ARGV[1] is the operation, ARGV[2] the milliseconds after which an abandoned render vanishes.
-- Numbers of progress pass as text: they may be larger than a Lua number is exact.
--
-- A client that lost an answer asks again. So that this changes nothing, a call that grants or accepts carries a number
-- of its own, and is answered the same way twice.

local key, operation, keep = KEYS[1], ARGV[1], ARGV[2]

local is_revised = false

local function revise()
    if is_revised then
        return
    end
    is_revised = true
    if redis.call('HINCRBY', key, 'revision', 1) == 1 then
        local time = redis.call('TIME')
        redis.call('HSET', key, 'revision', whole(tonumber(time[1]) * 1000000 + tonumber(time[2])))
    end
end

local function set(...)
    revise()
    redis.call('HSET', key, ...)
    redis.call('PEXPIRE', key, keep)
end

local function has(field)
    return redis.call('HEXISTS', key, field) == 1
end

local function read(step)
    local text = redis.call('HGET', key, step)
    if not text then
        return { attempt = 0, expires = 0, done = '0', total = '0', worker = '.' }
    end
    local attempt, expires, done, total, worker = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%S+)$')
    return { attempt = tonumber(attempt), expires = tonumber(expires), done = done, total = total, worker = worker }
end

local function write(step, task, ...)
    local text = table.concat({ whole(task.attempt), whole(task.expires), task.done, task.total, task.worker }, ' ')
    set(step, text, ...)
end

-- Writes down what happened to an attempt; a task that is tried without end fills no memory.
local function note(step, kind, attempt, what)
    local log = redis.call('HGET', key, step .. ':log') or ''
    if #log < 65536 then
        set(step .. ':log', log .. table.concat({ kind, whole(attempt), whole(now()), what }, ' ') .. '\n')
    end
end

-- Whether the lease is of the newest attempt. One the ledger never heard of, because it was emptied, is the newest.
local function admits(step, task, attempt, worker)
    if attempt > task.attempt then
        note(step, 'claimed', attempt, worker)
        task.attempt, task.worker, task.expires, task.done, task.total = attempt, worker, now(), '0', '0'
        return true
    end
    return attempt == task.attempt and task.worker == worker
end

if operation == 'open' then
    if has('open') then
        redis.call('PEXPIRE', key, keep)
    else
        set('open', '1')
    end
    return 'ok'
end

if operation == 'cancel' then
    set('open', '1', 'cancelled', '1')
    return 'ok'
end

if operation == 'pause' or operation == 'resume' then
    if not has('open') then
        return 'unknown'
    elseif operation == 'pause' then
        set('paused', '1')
    else
        revise()
        redis.call('HDEL', key, 'paused')
    end
    return 'ok'
end

if operation == 'view' then
    local term = tonumber(ARGV[3] or '0')
    local newest = tonumber(redis.call('HGET', key, 'term') or '0')
    if term > newest and has('open') then
        set('term', whole(term))
    end
    local revision = redis.call('HGET', key, 'revision') or '0'
    if revision ~= '0' and revision == ARGV[4] then
        return { whole(now()), whole(newest), revision, {} }
    end
    return { whole(now()), whole(newest), revision, redis.call('HGETALL', key) }
end

if not has('open') then
    return 'unknown'
end

local step = ARGV[3]

if operation == 'restore' then
    local attempt, result = tonumber(ARGV[4]), ARGV[5]
    if has(step .. ':result') then
        return 'ok'
    end
    local task = read(step)
    if attempt > task.attempt then
        task.attempt, task.worker, task.done, task.total = attempt, '.', '0', '0'
    end
    task.expires = 0
    write(step, task, step .. ':result', result)
    return 'ok'
end

if operation == 'release' then
    local attempt, worker = tonumber(ARGV[4]), ARGV[5]
    local task = read(step)
    if task.attempt == attempt and task.worker == worker then
        task.expires = 0
        write(step, task)
        note(step, 'ended', attempt, 'released')
    end
    return 'ok'
end

local cancelled = has('cancelled')

if operation == 'claim' then
    local worker, ttl, call = ARGV[4], tonumber(ARGV[5]), ARGV[6]
    if cancelled then
        return 'cancelled'
    end
    if has(step .. ':result') then
        return 'committed'
    end
    local task = read(step)
    local claimed = redis.call('HGET', key, step .. ':call') == call
    if not claimed then
        local time = now()
        if task.expires > time then
            return 'held'
        end
        local node = ARGV[7]
        if node then
            -- A slot is `node-sN`. In a message of a failure the quotes are escaped, so only the field itself is found.
            local workers, is_failed_here = {}, false
            for failed in string.gmatch(redis.call('HGET', key, step .. ':failures') or '', '"worker":"([^"]*)"') do
                workers[#workers + 1] = failed
                is_failed_here = is_failed_here or (string.match(failed, '^(.*)%-s%d+$') or failed) == node
            end
            if is_failed_here then
                return 'failed ' .. table.concat(workers, ' ')
            end
        end
        task.attempt, task.worker, task.expires = task.attempt + 1, worker, time + ttl
        task.done, task.total = '0', '0'
        write(step, task, step .. ':call', call)
        note(step, 'claimed', task.attempt, worker)
    end
    return 'granted ' .. whole(task.attempt)
end

local attempt, worker = tonumber(ARGV[4]), ARGV[5]

if operation == 'renew' then
    local done, total, ttl = ARGV[6], ARGV[7], tonumber(ARGV[8])
    if cancelled or has(step .. ':result') then
        return 'lost'
    end
    local task = read(step)
    if not admits(step, task, attempt, worker) or task.expires == 0 then
        return 'lost'
    end
    task.expires, task.done, task.total = now() + ttl, done, total
    write(step, task)
    return 'renewed'
end

if operation == 'commit' then
    local call, result = ARGV[6], ARGV[7]
    if has(step .. ':result') and redis.call('HGET', key, step .. ':by') == call then
        return 'accepted'
    end
    if cancelled then
        return 'stale'
    end
    if has(step .. ':result') then
        return 'duplicate'
    end
    local task = read(step)
    if not admits(step, task, attempt, worker) then
        return 'stale'
    end
    task.expires = 0
    write(step, task, step .. ':result', result, step .. ':by', call)
    note(step, 'ended', attempt, 'committed')
    return 'accepted'
end

if operation == 'fail' then
    local failure = ARGV[6]
    if cancelled then
        return 'stale'
    end
    if has(step .. ':result') then
        return 'duplicate'
    end
    local task = read(step)
    if not admits(step, task, attempt, worker) then
        return 'stale'
    end
    task.expires = 0
    note(step, 'ended', attempt, 'failed')
    -- An attempt fails once, however often it says so.
    if tonumber(redis.call('HGET', key, step .. ':failed') or '0') < attempt then
        local failures = redis.call('HGET', key, step .. ':failures') or ''
        write(step, task, step .. ':failures', failures .. failure .. '\n', step .. ':failed', whole(attempt))
    else
        write(step, task)
    end
    return 'accepted'
end

return redis.error_reply('ERR unknown operation ' .. operation)
