"""People who ask without a pause while the box changes its model; a file tells them when it is over.

usage: switch.py DEMO.json CASES.jsonl OVER_FILE REPORT_FILE

Every answer must be whole and right, whichever version gave it. The report says which versions answered, in the order in
which their answers began.
"""

import json
import os
import sys

from crowd import Box, Claims, body_of, cases_of, is_expected, together

PERSON_COUNT = 4
claims = Claims()


def main():
    box, cases, over, report = Box(sys.argv[1]), cases_of(sys.argv[2]), sys.argv[3], sys.argv[4]
    short = [case for case in cases if case["prompt_tokens"] < 300]
    seen = []

    def person(number):
        turn = number
        while not os.path.exists(over):
            case = short[turn % len(short)]
            turn += PERSON_COUNT
            answer = box.ask(body_of(case))
            claims.claim(f"{case['id']}: is answered", answer.is_whole, answer)
            claims.claim(f"{case['id']}: is right", is_expected(case, answer), answer)
            seen.append((answer.began_at, answer.fingerprint))

    together(PERSON_COUNT, person)
    order = [fingerprint for _, fingerprint in sorted(seen, key=lambda it: it[0])]
    json.dump(order, open(report, "w"))
    claims.end()


if __name__ == "__main__":
    main()
