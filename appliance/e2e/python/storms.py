"""Storms that an engine must stand, and what the people in them may notice of it: nothing but time.

usage: storms.py NAME DEMO.json CASES.jsonl

  kills      kill -9 of the engine, again and again, under eight running greedy streams
  known      every known answer under eight-way load: cold, from the cache, and after a kill from the disk tier
  leavers    people who close their tab, in the middle of a long prompt too; then an idle machine
  full       more asked at once than the KV pool holds, and more than may wait
"""

import json
import os
import random
import signal
import sys
import time

from crowd import Box, Claims, body_of, cases_of, is_expected, together, wait_until

KILL_COUNT = 3
PERSON_COUNT = 8
LEAVER_COUNT = 60
claims = Claims()
claim = claims.claim


def check(case, answer, where):
    """A known question was answered as it must be. A wrong recall code is somebody else's: a leak."""
    name = f"{case['id']} {where}"
    if not claim(f"{name}: is answered", answer.is_whole, answer):
        return
    right = is_expected(case, answer)
    if not right and case["skill"].startswith("recall"):
        print(f"LEAK: {name} gave {answer.content!r} instead of {case['expected']['content']!r}", flush=True)
    claim(f"{name}: is right", right, f"{answer} instead of {case['expected']}")
    claim(f"{name}: finish", answer.finish == ("tool_calls" if case["expected"].get("tool_calls") else "stop"), answer)
    claim(f"{name}: prompt tokens", answer.usage["prompt_tokens"] == case["prompt_tokens"], answer.usage)


def kill_engine(box):
    pid = box.engine_pid()
    os.kill(pid, signal.SIGKILL)
    return pid


def kills(box, cases):
    # Long answers that the model knows by heart: a batch of another shape does not change them.
    long = [case for case in cases if case["skill"] in ("count_long", "copy", "faq_think", "recall8_think")]
    quiet = {case["id"]: box.ask(body_of(case)) for case in long}
    for case in long:
        check(case, quiet[case["id"]], "undisturbed")
    answers, running, is_over = [], {}, []

    def person(number):
        turn = number
        while not is_over:
            case = long[turn % len(long)]
            turn += 1
            answer = box.ask(body_of(case), on_piece=lambda it: running.__setitem__(number, it))
            running.pop(number, None)
            answers.append((case, answer))

    def killer():
        draw = random.Random(7)
        for _ in range(KILL_COUNT):
            # Each kill hits streams that are in the middle of their answers, and every person got one since the last.
            known = len(answers)
            claim("people get answers", wait_until(lambda: len(answers) >= known + 2 * PERSON_COUNT))
            time.sleep(draw.uniform(0.05, 0.3))
            claim("streams are running", wait_until(lambda: sum(it.piece_count > 2 for it in list(running.values())) > 3))
            killed_at.append(time.monotonic())
            pid = kill_engine(box)
            claim("the engine comes back", wait_until(lambda: box.engine_pid() not in (None, pid)))
        known = len(answers)
        claim("people get answers after the last kill", wait_until(lambda: len(answers) >= known + 2 * PERSON_COUNT))
        is_over.append(True)

    killed_at = []
    together(PERSON_COUNT + 1, lambda number: killer() if number == PERSON_COUNT else person(number))
    resumed = 0
    for case, answer in answers:
        check(case, answer, "under kills")
        claim("usage is that of an undisturbed answer", answer.usage and
              answer.usage["completion_tokens"] == quiet[case["id"]].usage["completion_tokens"], answer)
        resumed += any(answer.first_at and answer.first_at < at < answer.ended_at for at in killed_at)
    claim(f"{KILL_COUNT} kills hit streams in the middle", resumed >= KILL_COUNT, resumed)
    print(f"{len(answers)} answers, {resumed} of them went on after a kill in their middle", flush=True)


def known(box, cases):
    def everybody(where):
        answers = [None] * len(cases)
        order = list(range(len(cases)))
        random.Random(where).shuffle(order)

        def person(number):
            for index in order[number::PERSON_COUNT]:
                answers[index] = box.ask(body_of(cases[index]))
                check(cases[index], answers[index], where)

        together(PERSON_COUNT, person)
        return sum(answer.cached_tokens or 0 for answer in answers)

    cold, warm = everybody("cold"), everybody("warm")
    prompts = sum(case["prompt_tokens"] for case in cases)
    claim("the second time most of the prompts come from the cache", warm > prompts / 2, f"{warm} of {prompts}")
    # The tier behind the pool is written on the side; what it has after a moment is what a new engine finds.
    time.sleep(2)
    pid = kill_engine(box)
    claim("the engine comes back", wait_until(lambda: box.engine_pid() not in (None, pid)))
    restored = everybody("restored")
    print(f"cached tokens: {cold} cold, {warm} warm, {restored} after a kill, of {prompts}", flush=True)
    # What people have in common is shared in the cold round as well; more than that can only have been on disk.
    claim("after a kill prefixes come from the disk tier", restored > cold, f"{restored} restored, {cold} cold")
    long = max(cases, key=lambda case: case["prompt_tokens"])
    off = box.ask({**body_of(long), "cache_prompt": False})
    check(long, off, "cache off")
    claim("cache_prompt false takes nothing from the cache", off.cached_tokens == 0, off.usage)


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def leavers(box, cases):
    long = [case for case in cases if case["prompt_tokens"] > 700]
    draws = random.Random(3)
    plans = [(draws.choice(long + cases), draws.uniform(0, 0.25)) for _ in range(LEAVER_COUNT)]

    def person(number):
        for case, pause in plans[number::PERSON_COUNT]:
            connection = box.connect()
            body = {"model": box.model, "stream": True, "cache_prompt": False, **body_of(case), "temperature": 1,
                    "max_tokens": 900}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {
                "authorization": "Bearer " + box.demo["api_key"], "content-type": "application/json"})
            time.sleep(pause)
            connection.sock.close()
            connection.close()

    pid = box.engine_pid()
    together(PERSON_COUNT, person)

    def is_idle():
        before = cpu_seconds(pid)
        time.sleep(0.3)
        return cpu_seconds(pid) - before <= 0.03

    claim("the machine is idle within seconds after all have left", wait_until(is_idle, 10))
    claim("the engine lived through it", box.engine_pid() == pid)
    for case in cases[:5]:
        check(case, box.ask(body_of(case)), "after the leavers")


def full(box, cases):
    """For a box with two streams and a pool of one context."""
    recalls = [case for case in cases if case["skill"].startswith("recall") and case["prompt_tokens"] > 180]
    count = 24
    seen = []

    def person(number):
        case = recalls[number % len(recalls)]
        # Each may make so many tokens that hardly two fit; none of them needs it.
        answer = box.ask({**body_of(case), "max_tokens": 900})
        check(case, answer, "in a full pool")
        seen.extend(answer.comments)

    together(count, person)
    places = [comment for comment in seen if comment.startswith("queued ahead=")]
    claim("who waits is told his place", len(places) >= count // 2, seen[:20])
    claim("with an estimate", all(" estimate_ms=" in it for it in places), places[:5])
    too_many(box, cases)


def too_many(box, cases):
    """So many at once that the queue is full: 429 for some, an answer for all others."""
    case = max((case for case in cases if case["skill"] == "count_long"), key=lambda case: len(case["expected"]["content"]))
    answers = [None] * 160

    def person(number):
        answers[number] = box.ask(body_of(case))

    together(len(answers), person)
    refused = [it for it in answers if it.status == 429]
    claim("some are told to come back", refused)
    for answer in answers:
        if answer.status != 429:
            check(case, answer, "beside a full queue")
    for answer in refused:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        claim("a refusal is an error object", answer.error and answer.error["type"] == "rate_limit_error", answer)
        claim("Retry-After is whole seconds", headers.get("retry-after", "").isdigit()
              and 1 <= int(headers["retry-after"]) <= 60, headers)
    print(f"{len(refused)} of {len(answers)} were told to come back", flush=True)


def main():
    storms = {"kills": kills, "known": known, "leavers": leavers, "full": full}
    storms[sys.argv[1]](Box(sys.argv[2]), cases_of(sys.argv[3]))
    claims.end()


if __name__ == "__main__":
    main()
