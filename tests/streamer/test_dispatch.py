"""Handing out work by credit."""

from __future__ import annotations

import pytest

from streamer.dispatch import MOST_DEATHS, CreditDispatcher, UnexpectedAnswerError


def test_a_process_holds_one_job_at_a_time_and_the_lowest_goes_first() -> None:
    dispatcher = CreditDispatcher()
    for number in (2, 0, 1):
        dispatcher.submit(number, b"%d" % number)
    dispatcher.add_idle("a")
    assert dispatcher.assign() == [("a", b"0")]
    assert dispatcher.assign() == []
    dispatcher.add_idle("b")
    assert dispatcher.assign() == [("b", b"1")]
    dispatcher.finish("a", 0)
    assert dispatcher.assign() == [("a", b"2")]
    dispatcher.finish("a", 2)
    assert not dispatcher.is_empty
    dispatcher.finish("b", 1)
    assert dispatcher.is_empty


def test_urgent_jobs_go_before_all_others() -> None:
    dispatcher = CreditDispatcher()
    for number in range(4):
        dispatcher.submit(number, b"%d" % number, is_urgent=number > 1)
    order = []
    for process in "abcd":
        dispatcher.add_idle(process)
        order += [payload for _, payload in dispatcher.assign()]
    assert order == [b"2", b"3", b"0", b"1"]


def test_an_unequal_pair_shares_the_work_by_speed() -> None:
    dispatcher = CreditDispatcher()
    for number in range(100):
        dispatcher.submit(number, b"%d" % number)
    for name in ("slow", "fast"):
        dispatcher.add_idle(name)
    done = {"slow": 0, "fast": 0}
    held = dict(dispatcher.assign())
    while held:
        name = "slow" if done["fast"] >= 9 * (done["slow"] + 1) and "slow" in held else "fast"
        dispatcher.finish(name, int(held.pop(name)))
        done[name] += 1
        held |= dispatcher.assign()
        if "fast" not in held and held:
            dispatcher.finish("slow", int(held.pop("slow")))
            done["slow"] += 1
            held |= dispatcher.assign()
    assert sum(done.values()) == 100
    assert done["fast"] >= 85


def test_the_job_of_a_dead_process_comes_before_all_others() -> None:
    dispatcher = CreditDispatcher()
    dispatcher.add_idle("a")
    for number in range(3):
        dispatcher.submit(number, b"%d" % number)
    assert dispatcher.assign() == [("a", b"0")]
    assert dispatcher.bury("a") is None
    dispatcher.add_idle("b")
    assert dispatcher.assign() == [("b", b"0")]


def test_a_job_that_ends_every_process_is_given_up() -> None:
    dispatcher = CreditDispatcher()
    dispatcher.submit(5, b"poison")
    for attempt in range(1, MOST_DEATHS + 1):
        dispatcher.add_idle(f"process-{attempt}")
        assert dispatcher.assign() == [(f"process-{attempt}", b"poison")]
        assert dispatcher.bury(f"process-{attempt}") == ((5, b"poison") if attempt == MOST_DEATHS else None)
    assert dispatcher.is_empty


def test_the_death_of_an_idle_process_blames_no_job() -> None:
    dispatcher = CreditDispatcher()
    dispatcher.add_idle("a")
    assert dispatcher.bury("a") is None
    assert dispatcher.bury("never heard of") is None
    dispatcher.submit(0, b"0")
    assert dispatcher.assign() == []


def test_an_answer_to_a_job_that_was_not_given_is_an_error() -> None:
    dispatcher = CreditDispatcher()
    dispatcher.add_idle("a")
    dispatcher.submit(0, b"0")
    dispatcher.assign()
    with pytest.raises(UnexpectedAnswerError, match="answers job 1 but holds 0"):
        dispatcher.finish("a", 1)
    with pytest.raises(UnexpectedAnswerError, match="answers job 0 but holds None"):
        dispatcher.finish("b", 0)
