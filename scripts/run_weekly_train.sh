#!/bin/sh
# The weekly training, from cron with an empty environment; it belongs to Sunday. Usage: run_weekly_train.sh [flags of bft train]
#
#   CRON_TZ=America/New_York
#   0 12 * * 0  /path/to/checkout/scripts/run_weekly_train.sh
#
# Run late (a machine that slept), it leaves the training to the next evening, after its ranked list. The exit code is bft's.
# BFT_HOME moves what is kept (default ~/.bft); BFT_COMMAND names another bft. The checkout's own .env is read too.
set -u

export PATH="${PATH:+$PATH:}/usr/local/bin:/usr/bin:/bin"
checkout=$(dirname "$(dirname "$(readlink -f "$0")")")
cd "$checkout" || exit 2
if [ -z "${HOME-}" ]; then
    HOME=$(eval "echo ~$(id -un)")
    export HOME
fi
export BFT_HOME="${BFT_HOME:-$HOME/.bft}"
bft=${BFT_COMMAND:-$checkout/.venv/bin/bft}
if [ ! -x "$bft" ]; then
    echo "error: $bft is not there. to do: run \`make demo\` in $checkout once, or set BFT_COMMAND." >&2
    exit 2
fi

# New York's time by its rule, so that no time zone files are needed.
new_york() {
    TZ=EST5EDT,M3.2.0,M11.1.0 date "$@"
}
if [ "$(new_york +%u)" -ne 7 ]; then
    echo "$(new_york +%Y-%m-%d) is no Sunday in New York: the next evening trains after its ranked list, where it is due."
    exit 0
fi
echo "bft train, $(new_york '+%Y-%m-%d %H:%M') in New York"
exec "$bft" train "$@"
