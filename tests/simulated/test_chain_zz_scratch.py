import signal, time, sys
from tests.simulated.conftest import *
def test_a(ranked, gateway):
    gateway.fault("hold_fills")
    process = ranked.start("morning", "--as-of", NEXT_DAY, "--mode", "paper", "--gateway", gateway.where, "--set", "gateway.fill_wait_s=60")
    gateway.until("sent 3 orderStatus")
    time.sleep(.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    print(ranked.states())
    gateway.heal()
    time.sleep(.3)
    t=time.time()
    d=ranked.morning(gateway, mode="paper")
    print(time.time()-t, d.stdout, d.stderr, d.returncode, ranked.states(), gateway.orders)
    assert 0
def test_b(ranked, gateway):
    gateway.fault("hold_fills")
    process = ranked.start("morning", "--as-of", NEXT_DAY, "--mode", "paper", "--gateway", gateway.where, "--set", "gateway.fill_wait_s=60")
    gateway.until("sent 3 orderStatus")
    time.sleep(.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    print(ranked.states())
    t=time.time()
    d=ranked.morning(gateway, mode="paper")
    print(time.time()-t, d.stdout, d.stderr, d.returncode, ranked.states(), gateway.orders)
    assert 0
