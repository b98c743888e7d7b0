-- What stands before each script of the ledger that reads the time: Redis's time in milliseconds, and whole numbers as
-- text.

local function now()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function whole(number)
    return string.format('%.0f', number)
end

