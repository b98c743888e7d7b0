#!/usr/bin/env bash
# Private RabbitMQ, Redis and S3 servers for tests.
#
#   scripts/services.sh run -- COMMAND...   start them, run COMMAND with their addresses in its environment, stop them;
#                                           the exit status is COMMAND's
#
# From within COMMAND, on the servers that HYPERFARM_TEST_SERVICES_DIR names:
#
#   scripts/services.sh rabbit-restart      kill -9 and start again; its queues are kept
#   scripts/services.sh rabbit-stop         kill -9
#   scripts/services.sh rabbit-start        start again
#   scripts/services.sh redis-restart       kill -9 and start again; its data is gone
#   scripts/services.sh redis-stop          kill -9
#   scripts/services.sh redis-start         start again
#
# Everything listens on 127.0.0.1, on ports and in a folder of its own, as whatever user runs it. What COMMAND finds:
#
#   HYPERFARM_TEST_AMQP_URL, HYPERFARM_TEST_REDIS_URL, HYPERFARM_TEST_S3_ENDPOINT, HYPERFARM_TEST_S3_BUCKET,
#   HYPERFARM_TEST_SERVICES_DIR, HYPERFARM_TEST_SERVICES (this script), HYPERFARM_TEST_REQUIRE_SERVERS=1,
#   AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT, AWS_ALLOW_HTTP
#
# HYPERFARM_S3_SERVER names a built s3_server; without it the script builds one. HYPERFARM_SERVICES limits what is started
# (default "rabbit redis s3").
set -euo pipefail

self=$(readlink -f "${BASH_SOURCE[0]}")
repository=$(dirname "$(dirname "$self")")
bucket=hyperfarm-test

say() { printf 'services: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# --- processes -------------------------------------------------------------------------------------------------------

# A zombie answers to kill -0 until it is reaped, which nobody may ever do in a container.
alive() {
    local state
    state=$(sed -n 's/^State:[[:space:]]*\([A-Z]\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 1
    [[ -n $state && $state != Z && $state != X ]]
}

# Start time, which tells a process from a later one with the same number.
born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# spawn NAME COMMAND... : in a session of its own, so that a terminal's interrupt reaches COMMAND's tests alone.
spawn() {
    local name=$1
    shift
    setsid "$@" </dev/null >>"$dir/$name.log" 2>&1 &
    local pid=$!
    disown "$pid"
    printf '%s %s\n' "$pid" "$(born "$pid")" >"$dir/$name.pid"
}

pid_of() {
    local pid birth
    [[ -f $dir/$1.pid ]] && read -r pid birth <"$dir/$1.pid" || return 1
    [[ -n $pid && $(born "$pid") == "$birth" ]] && alive "$pid" && printf '%s' "$pid"
}

# end NAME SIGNAL : the whole process group, and wait until its leader is gone.
end() {
    local pid
    pid=$(pid_of "$1") || { rm -f "$dir/$1.pid"; return 0; }
    kill -s "$2" -- "-$pid" 2>/dev/null || kill -s "$2" "$pid" 2>/dev/null || true
    for _ in {1..100}; do
        alive "$pid" || break
        sleep 0.1
    done
    kill -s KILL -- "-$pid" 2>/dev/null || true
    for _ in {1..50}; do
        alive "$pid" || break
        sleep 0.1
    done
    rm -f "$dir/$1.pid"
}

# --- ports -----------------------------------------------------------------------------------------------------------

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below the range from which the system takes the ports of outgoing connections.
free_port() {
    local port
    for _ in {1..100}; do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        answers "$port" || { printf '%s' "$port"; return 0; }
    done
    return 1
}

# await NAME SECONDS PROBE... : until PROBE succeeds; not if the server ends first.
await() {
    local name=$1 deadline=$((SECONDS + $2))
    shift 2
    while ! "$@" 2>/dev/null; do
        pid_of "$name" >/dev/null || return 1
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# --- RabbitMQ --------------------------------------------------------------------------------------------------------

# A broker that is ready answers the protocol header with a method frame; its port opens last when it starts.
rabbit_answers() {
    local first
    first=$(timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "AMQP\0\0\011\001" >&3 && head -c 1 <&3 | od -An -tu1' \
        "$rabbit_port") && [[ $first -eq 1 ]]
}

# The packaged /usr/sbin wrapper changes to a user of its own, who could not read this folder.
rabbit_program() {
    local candidate
    for candidate in "${HYPERFARM_RABBITMQ_SERVER:-}" /usr/lib/rabbitmq/bin/rabbitmq-server \
        "$(command -v rabbitmq-server || true)"; do
        [[ -n $candidate && -x $candidate ]] && { printf '%s' "$candidate"; return 0; }
    done
    return 1
}

epmd_program() {
    command -v epmd && return 0
    local root
    root=$(erl -noshell -eval 'io:put_chars(code:root_dir()), halt().' 2>/dev/null) || return 1
    compgen -G "$root/erts-*/bin/epmd" | head -n 1
}

rabbit_start() {
    local home=$dir/rabbit program
    program=$(rabbit_program) || fail "there is no rabbitmq-server; install it or set HYPERFARM_RABBITMQ_SERVER"
    mkdir -p "$home"
    printf '[].\n' >"$home/enabled_plugins"
    : >"$home/env.conf"
    cat >"$home/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$rabbit_port
log.console = false
log.file.level = info
disk_free_limit.absolute = 64MB
# As broker/rabbit.rs asks of every broker that has no such setting of a queue.
consumer_timeout = 14400000
CONF
    # Schedulers that spin while idle would take the cores from what is measured.
    spawn rabbit env -i PATH="$PATH" HOME="$home" LANG=C.UTF-8 \
        ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 ERL_CRASH_DUMP_BYTES=0 \
        RABBITMQ_NODENAME="$rabbit_node" \
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$rabbit_port" RABBITMQ_DIST_PORT="$dist_port" \
        RABBITMQ_CONF_ENV_FILE="$home/env.conf" RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf" \
        RABBITMQ_ADVANCED_CONFIG_FILE="$home/none.config" RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins" \
        RABBITMQ_GENERATED_CONFIG_DIR="$home/generated" RABBITMQ_SCHEMA_DIR="$home/schema" \
        RABBITMQ_MNESIA_BASE="$home/mnesia" RABBITMQ_MNESIA_DIR="$home/mnesia/node" RABBITMQ_LOG_BASE="$home/log" \
        RABBITMQ_PLUGINS_EXPAND_DIR="$home/plugins" RABBITMQ_PID_FILE="$home/pid" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none" \
        "$program"
}

epmd_start() {
    local program
    program=$(epmd_program) || fail "there is no epmd; install Erlang"
    # Started here and not by Erlang, which would leave it behind as a daemon.
    spawn epmd env ERL_EPMD_PORT="$epmd_port" "$program" -port "$epmd_port" -address 127.0.0.1 -relaxed_command_check
    await epmd 10 answers "$epmd_port"
}

rabbit_up() {
    for _ in 1 2 3; do
        epmd_port=$(free_port) rabbit_port=$(free_port) dist_port=$(free_port)
        if epmd_start && rabbit_start && await rabbit 90 rabbit_answers; then
            return 0
        fi
        say "RabbitMQ did not start on ports $rabbit_port, $dist_port, $epmd_port"
        end rabbit KILL
        end epmd TERM
    done
    tail -n 20 "$dir/rabbit.log" >&2 || true
    return 1
}

# --- Redis -----------------------------------------------------------------------------------------------------------

# redis_says COMMAND EXPECTED
redis_says() {
    local line
    line=$(timeout 5 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "%s\r\n" "$1" >&3 && head -n 1 <&3' \
        "$redis_port" "$1") && [[ $line == "$2"* ]]
}

redis_start() {
    command -v redis-server >/dev/null || fail "there is no redis-server; install it"
    mkdir -p "$dir/redis"
    spawn redis redis-server --port "$redis_port" --bind 127.0.0.1 --dir "$dir/redis" --save '' --appendonly no \
        --daemonize no
}

redis_up() {
    for _ in 1 2 3; do
        redis_port=$(free_port)
        if redis_start && await redis 20 redis_says PING +PONG; then
            return 0
        fi
        say "Redis did not start on port $redis_port"
        end redis KILL
    done
    tail -n 20 "$dir/redis.log" >&2 || true
    return 1
}

# --- S3 --------------------------------------------------------------------------------------------------------------

s3_program() {
    if [[ -n ${HYPERFARM_S3_SERVER:-} ]]; then
        printf '%s' "$HYPERFARM_S3_SERVER"
        return 0
    fi
    (cd "$repository" && cargo build --release --locked --quiet --workspace --bin s3_server >&2) || return 1
    printf '%s' "${CARGO_TARGET_DIR:-$repository/target}/release/s3_server"
}

s3_listens() {
    s3_port=$(sed -n 's/^listening on //p' "$dir/s3.log" | tail -n 1)
    [[ -n $s3_port ]]
}

s3_up() {
    local program
    program=$(s3_program) || fail "s3_server cannot be built"
    [[ -x $program ]] || fail "$program is no program; set HYPERFARM_S3_SERVER"
    spawn s3 "$program" --root "$dir/s3" --bucket "$bucket"
    await s3 20 s3_listens || { tail -n 20 "$dir/s3.log" >&2; return 1; }
}

# --- run -------------------------------------------------------------------------------------------------------------

# Nothing in their folders is wanted, so nobody waits for an orderly end.
stop_all() {
    end s3 KILL
    end redis KILL
    end rabbit KILL
    end epmd KILL
}

# Cleans up after a `run` that was killed with a signal that no trap sees.
watch() {
    dir=$1
    while [[ $(born "$2") == "$3" ]] && alive "$2"; do sleep 0.5; done
    [[ -d $dir ]] || exit 0
    end command TERM
    stop_all
    rm -rf "$dir"
}

run() {
    [[ ${1:-} == -- ]] && shift
    (($# > 0)) || fail "run -- COMMAND..."
    dir=$(mktemp -d "${TMPDIR:-/tmp}/hyperfarm-services.XXXXXX")
    local child='' status=0 wanted=${HYPERFARM_SERVICES:-rabbit redis s3}
    # shellcheck disable=SC2329  # called by the trap
    clean() {
        status=$?
        trap - EXIT INT TERM HUP
        if [[ -n $child ]] && alive "$child"; then
            kill -s TERM "$child" 2>/dev/null || true
            wait "$child" 2>/dev/null || true
        fi
        stop_all
        end watch KILL
        if [[ -n ${HYPERFARM_SERVICES_KEEP:-} ]]; then say "kept $dir"; else rm -rf "$dir"; fi
        exit "$status"
    }
    trap clean EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    spawn watch "$self" watch "$dir" $$ "$(born $$)"

    rabbit_port='' dist_port='' epmd_port='' redis_port='' s3_port=''
    rabbit_node="hf-$$@localhost"
    if [[ " $wanted " == *" rabbit "* ]]; then
        rabbit_up || fail "RabbitMQ does not answer"
        export HYPERFARM_TEST_AMQP_URL="amqp://guest:guest@127.0.0.1:$rabbit_port/%2f"
    fi
    if [[ " $wanted " == *" redis "* ]]; then
        redis_up || fail "Redis does not answer"
        export HYPERFARM_TEST_REDIS_URL="redis://127.0.0.1:$redis_port/0"
    fi
    if [[ " $wanted " == *" s3 "* ]]; then
        s3_up || fail "the S3 server does not answer"
        export HYPERFARM_TEST_S3_ENDPOINT="http://127.0.0.1:$s3_port" HYPERFARM_TEST_S3_BUCKET=$bucket
        export AWS_ACCESS_KEY_ID=hyperfarm-test AWS_SECRET_ACCESS_KEY=hyperfarm-test-secret AWS_REGION=us-east-1
        export AWS_ENDPOINT=$HYPERFARM_TEST_S3_ENDPOINT AWS_ALLOW_HTTP=true
        unset AWS_SESSION_TOKEN AWS_PROFILE
    fi
    local name
    for name in rabbit_port dist_port epmd_port redis_port rabbit_node; do
        printf '%s=%q\n' "$name" "${!name}"
    done >"$dir/services.env"
    export HYPERFARM_TEST_SERVICES_DIR=$dir HYPERFARM_TEST_SERVICES=$self HYPERFARM_TEST_REQUIRE_SERVERS=1

    # In the background, because a shell that waits for a program in the foreground hears no signal until it ends.
    "$@" <&0 &
    child=$!
    printf '%s %s\n' "$child" "$(born "$child")" >"$dir/command.pid"
    wait "$child" || status=$?
    child=''
    exit "$status"
}

# --- commands --------------------------------------------------------------------------------------------------------

described() {
    dir=${HYPERFARM_TEST_SERVICES_DIR:-}
    [[ -n $dir && -f $dir/services.env ]] || fail "HYPERFARM_TEST_SERVICES_DIR names no running services"
    # shellcheck disable=SC1091
    source "$dir/services.env"
}

rabbit_again() { rabbit_start && await rabbit 90 rabbit_answers || fail "RabbitMQ does not answer again"; }
redis_again() { redis_start && await redis 20 redis_says PING +PONG || fail "Redis does not answer again"; }

case ${1:-} in
    run) shift; run "$@" ;;
    watch) shift; watch "$@" ;;
    rabbit-stop) described; end rabbit KILL ;;
    rabbit-start) described; rabbit_again ;;
    rabbit-restart) described; end rabbit KILL; rabbit_again ;;
    redis-stop) described; end redis KILL ;;
    redis-start) described; redis_again ;;
    redis-restart) described; end redis KILL; redis_again ;;
    *) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$self" >&2; exit 2 ;;
esac
