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
--   {step}:older    the same of the attempt that ran when the newest one was claimed beside it
--   {step}:speculate  the attempt beside which one slot of another node may claim the task
--   {step}:call     number of the claim of the newest attempt; {step}:older:call of the older one
--   {step}:result   what was committed
--   {step}:by       the call that committed it
--   {step}:failures failed attempts, a JSON object a line
--   {step}:log      `claimed attempt time worker` and `ended attempt time how`, a line each
--
-- KEYS[2] is a sorted set: its tasks by the revision of the last write to each, and `open` by the revision that opened
-- the render. A read by differences takes the tasks above the reader's revision.
--
-- KEYS[1] is the render. ARGV[1] is the operation, ARGV[2] the milliseconds after which an abandoned render vanishes.
-- Numbers of progress pass as text: they may be larger than a Lua number is exact.
--
-- A client that lost an answer asks again. So that this changes nothing, a call that grants or accepts carries a number
-- of its own, and is answered the same way twice.

local key, writes, operation, keep = KEYS[1], KEYS[2], ARGV[1], ARGV[2]

-- The task that is written to, of an operation on a task.
local step

local revision

-- Begins a write: counts a revision, once a call.
local function revise()
    if revision then
        return
    end
    revision = redis.call('HINCRBY', key, 'revision', 1)
    if revision == 1 then
        local time = redis.call('TIME')
        revision = tonumber(time[1]) * 1000000 + tonumber(time[2])
        redis.call('HSET', key, 'revision', whole(revision))
    end
    if step then
        redis.call('ZADD', writes, whole(revision), step)
    end
    redis.call('PEXPIRE', writes, keep)
end

local function set(...)
    revise()
    redis.call('HSET', key, ...)
    redis.call('PEXPIRE', key, keep)
end

local function has(field)
    return redis.call('HEXISTS', key, field) == 1
end

-- An attempt, from the field of the newest or of the older one.
local function read(field)
    local text = redis.call('HGET', key, field)
    if not text then
        return { field = field, attempt = 0, expires = 0, done = '0', total = '0', worker = '.' }
    end
    local attempt, expires, done, total, worker = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%S+)$')
    attempt, expires = tonumber(attempt), tonumber(expires)
    return { field = field, attempt = attempt, expires = expires, done = done, total = total, worker = worker }
end

local function write(task, ...)
    local text = table.concat({ whole(task.attempt), whole(task.expires), task.done, task.total, task.worker }, ' ')
    set(task.field, text, ...)
end

-- Writes down what happened to an attempt; a task that is tried without end fills no memory.
local function note(step, kind, attempt, what)
    local log = redis.call('HGET', key, step .. ':log') or ''
    if #log < 65536 then
        set(step .. ':log', log .. table.concat({ kind, whole(attempt), whole(now()), what }, ' ') .. '\n')
    end
end

local function older_of(step)
    return read(step .. ':older')
end

-- The attempt of a lease if it may still renew: the newest one, or the one that ran when that was claimed beside it. A
-- request without the number of its claim is of any.
local function holder(step, attempt, worker, call)
    for _, task in ipairs({ read(step), older_of(step) }) do
        if task.attempt == attempt and task.worker == worker then
            local known = call and call ~= '' and redis.call('HGET', key, task.field .. ':call')
            if not known or known == call then
                return task
            end
        end
    end
end

-- The attempts whose leases are alive.
local function alive(step)
    local time, found = now(), {}
    for _, task in ipairs({ read(step), older_of(step) }) do
        if task.expires > time then
            found[#found + 1] = task
        end
    end
    return found
end

-- The same. An attempt the ledger never heard of, because it was emptied, is the newest. It ends no living lease, except
-- by a result.
local function admit(step, attempt, worker, call, has_result)
    if attempt > read(step).attempt and (has_result or not alive(step)[1]) then
        note(step, 'claimed', attempt, worker)
        redis.call('HDEL', key, step .. ':older', step .. ':older:call', step .. ':call')
        if call and call ~= '' then
            set(step .. ':call', call)
        end
        return { field = step, attempt = attempt, worker = worker, expires = now(), done = '0', total = '0' }
    end
    return holder(step, attempt, worker, call)
end

-- Ends both leases.
local function end_leases(step, task)
    task.expires = 0
    write(task)
    for _, other in ipairs(alive(step)) do
        other.expires = 0
        write(other)
    end
end

-- A slot is `node-sN`.
local function node_of(slot)
    return string.match(slot, '^(.*)%-s%d+$') or slot
end

local function open(...)
    local is_new = not has('open')
    set('open', '1', ...)
    if is_new then
        redis.call('DEL', writes)
        redis.call('ZADD', writes, whole(revision), 'open')
        redis.call('PEXPIRE', writes, keep)
    end
end

if operation == 'open' then
    if has('open') then
        redis.call('PEXPIRE', key, keep)
        redis.call('PEXPIRE', writes, keep)
    else
        open()
    end
    return 'ok'
end

if operation == 'cancel' then
    open('cancelled', '1')
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
    local found, known = redis.call('HGET', key, 'revision') or '0', ARGV[4] or '0'
    if found ~= '0' and found == known then
        return { whole(now()), whole(newest), found, 0, {} }
    end
    local opened = redis.call('ZSCORE', writes, 'open')
    local steps
    if opened and tonumber(known) >= tonumber(opened) and tonumber(known) <= tonumber(found) then
        steps = redis.call('ZRANGEBYSCORE', writes, '(' .. known, '+inf', 'LIMIT', 0, 501)
    end
    -- The whole: for who knows nothing of this entry, of an entry of an older farm, and where a Lua call would have too
    -- many arguments.
    if not steps or #steps > 500 then
        return { whole(now()), whole(newest), found, 1, redis.call('HGETALL', key) }
    end
    local names = { 'open', 'cancelled', 'paused' }
    for _, written in ipairs(steps) do
        for _, part in ipairs({ '', ':older', ':result', ':failures', ':log' }) do
            names[#names + 1] = written .. part
        end
    end
    local fields = {}
    for index, value in ipairs(redis.call('HMGET', key, unpack(names))) do
        if value then
            fields[#fields + 1] = names[index]
            fields[#fields + 1] = value
        end
    end
    return { whole(now()), whole(newest), found, 0, fields }
end

if not has('open') then
    return 'unknown'
end

step = ARGV[3]

if operation == 'restore' then
    local attempt, result = tonumber(ARGV[4]), ARGV[5]
    if has(step .. ':result') then
        return 'ok'
    end
    local task = read(step)
    if attempt > task.attempt then
        task.attempt, task.worker, task.done, task.total = attempt, '.', '0', '0'
    end
    end_leases(step, task)
    set(step .. ':result', result)
    return 'ok'
end

if operation == 'reopen' then
    if has(step .. ':result') then
        local task = read(step)
        task.attempt, task.worker, task.expires, task.done, task.total = task.attempt + 1, '.', 0, '0', '0'
        write(task)
        local gone = { ':result', ':by', ':call', ':older', ':older:call', ':speculate' }
        for _, field in ipairs(gone) do
            redis.call('HDEL', key, step .. field)
        end
    end
    return 'ok'
end

if operation == 'release' then
    local attempt, worker, call = tonumber(ARGV[4]), ARGV[5], ARGV[6]
    local task = holder(step, attempt, worker, call)
    if task then
        task.expires = 0
        write(task)
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
        local node, running = ARGV[7], alive(step)
        local beside = running[1]
        if beside then
            local allowed = redis.call('HGET', key, step .. ':speculate') == whole(beside.attempt)
            if running[2] or not node or not allowed then
                return 'held'
            end
            if node_of(beside.worker) == node then
                return 'elsewhere ' .. beside.worker
            end
        end
        if node then
            -- In a message of a failure the quotes are escaped, so only the field itself is found.
            local workers, is_failed_here = {}, false
            for failed in string.gmatch(redis.call('HGET', key, step .. ':failures') or '', '"worker":"([^"]*)"') do
                workers[#workers + 1] = failed
                is_failed_here = is_failed_here or node_of(failed) == node
            end
            if is_failed_here then
                return 'elsewhere ' .. table.concat(workers, ' ')
            end
        end
        local call_beside = beside and redis.call('HGET', key, beside.field .. ':call')
        redis.call('HDEL', key, step .. ':older', step .. ':older:call', step .. ':speculate')
        local attempt = task.attempt + 1
        if beside then
            beside.field = step .. ':older'
            write(beside)
            if call_beside then
                set(beside.field .. ':call', call_beside)
            end
        end
        task = { field = step, attempt = attempt, worker = worker, expires = now() + ttl, done = '0', total = '0' }
        write(task, step .. ':call', call)
        note(step, 'claimed', attempt, worker)
    end
    return 'granted ' .. whole(task.attempt)
end

if operation == 'speculate' then
    local running = alive(step)
    if cancelled or has(step .. ':result') or #running ~= 1 or running[1].attempt ~= tonumber(ARGV[4]) then
        return 'no'
    end
    set(step .. ':speculate', ARGV[4])
    return 'yes'
end

local attempt, worker = tonumber(ARGV[4]), ARGV[5]

if operation == 'held' then
    local task = holder(step, attempt, worker, ARGV[6])
    return task and task.expires > now() and not cancelled and 'yes' or 'no'
end

if operation == 'renew' then
    local done, total, ttl, call = ARGV[6], ARGV[7], tonumber(ARGV[8]), ARGV[9]
    if cancelled or has(step .. ':result') then
        return 'lost'
    end
    local task = admit(step, attempt, worker, call)
    if not task or task.expires == 0 then
        return 'lost'
    end
    task.expires, task.done, task.total = now() + ttl, done, total
    write(task)
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
    -- A result is as good from a claim of before.
    local task = admit(step, attempt, worker, nil, true)
    if not task then
        return 'stale'
    end
    end_leases(step, task)
    set(step .. ':result', result, step .. ':by', call)
    note(step, 'ended', attempt, 'committed')
    return 'accepted'
end

if operation == 'fail' then
    local failure, call = ARGV[6], ARGV[7]
    if cancelled then
        return 'stale'
    end
    if has(step .. ':result') then
        return 'duplicate'
    end
    local task = admit(step, attempt, worker, call)
    if not task then
        return 'stale'
    end
    task.expires = 0
    write(task)
    note(step, 'ended', attempt, 'failed')
    -- An attempt fails once, however often it says so. Only the beginning of a line has such quotes.
    local failures = redis.call('HGET', key, step .. ':failures') or ''
    if not string.find(failures, '{"attempt":' .. whole(attempt) .. ',', 1, true) then
        set(step .. ':failures', failures .. failure .. '\n')
    end
    return 'accepted'
end

return redis.error_reply('ERR unknown operation ' .. operation)
