#!/bin/sh
# One stage of the trading day, from cron with an empty environment. Usage: run_daily_pipeline.sh [evening|morning|close] [flags of bft]
#
#   CRON_TZ=America/New_York
#   30 18 * * 1-5  /path/to/checkout/scripts/run_daily_pipeline.sh evening
#   45  9 * * 1-5  /path/to/checkout/scripts/run_daily_pipeline.sh morning
#   30 16 * * 1-5  /path/to/checkout/scripts/run_daily_pipeline.sh close
#
# The exit code is bft's; a holiday prints "no session" and is 0. After the evening's ranked list a training follows where one is due (a missed Sunday), never before it.
# BFT_HOME moves what is kept (default ~/.bft); BFT_COMMAND names another bft. The checkout's own .env is read too.
set -u

stage=evening
case "${1-}" in
    evening | morning | close) stage=$1 && shift ;;
    "" | -*) ;;
    *) echo "usage: run_daily_pipeline.sh [evening|morning|close] [flags of bft]" >&2 && exit 2 ;;
esac

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
echo "bft $stage, $(TZ=EST5EDT,M3.2.0,M11.1.0 date '+%Y-%m-%d %H:%M') in New York"
"$bft" "$stage" "$@"
code=$?

# 0 done, 7 no model yet, 20 did less than asked, 21 a mail waits: the list is out, so training may follow.
case "$stage $code" in
    "evening 0" | "evening 7" | "evening 20" | "evening 21")
        "$bft" train --train-if-due
        trained=$?
        [ "$code" -ne 0 ] || code=$trained
        ;;
esac
exit "$code"
