"""Streams of many people for a bounded time, and what came of each.

usage: load.py DEMO.json --seconds N --streams N --report FILE

An outcome is one of
  done      the stream ended with [DONE]; its ProduceID is kept: its leaf was acknowledged
  error     a proper error object, before or inside the stream
  cut       the connection broke (only a dead gateway may do that)
  wrong     anything else: half a stream without an error, a body that is no JSON, a status without an error object
"""

import argparse
import http.client
import json
import ssl
import threading
import time


def one(demo, context, outcomes, lock):
    host, port = demo["base_url"].removeprefix("https://").split(":")
    body = json.dumps({
        "model": demo["model"], "stream": True, "temperature": 0, "reasoning_effort": "none",
        "messages": [{"role": "user", "content": "Please count from 290 to 330."}],
    })
    kind, detail = "wrong", ""
    try:
        connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)
        connection.request("POST", "/v1/chat/completions", body, {
            "authorization": "Bearer " + demo["api_key"], "content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.status != 200:
            error = json.loads(text)["error"]
            kind, detail = "error", f"{answer.status} {error['code']}"
        else:
            events = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
            produce_id = None
            for event in events:
                if event == "[DONE]":
                    kind, detail = "done", produce_id
                    break
                chunk = json.loads(event)
                if "error" in chunk:
                    kind, detail = "error", "stream " + str(chunk["error"]["code"])
                    break
                produce_id = chunk.get("produce_id") or produce_id
            else:
                detail = text[-300:]
    except (OSError, http.client.HTTPException) as error:
        kind, detail = "cut", repr(error)
    except (KeyError, ValueError) as error:
        detail = repr(error)
    with lock:
        outcomes.append((kind, detail))
    return kind


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("demo")
    arguments.add_argument("--seconds", type=float, required=True)
    arguments.add_argument("--streams", type=int, default=4)
    arguments.add_argument("--report", required=True)
    options = arguments.parse_args()
    demo = json.load(open(options.demo))
    context = ssl.create_default_context(cafile=demo["ca_cert"])
    outcomes, lock, end = [], threading.Lock(), time.monotonic() + options.seconds

    def person():
        while time.monotonic() < end:
            if one(demo, context, outcomes, lock) != "done":
                time.sleep(0.1)

    people = [threading.Thread(target=person) for _ in range(options.streams)]
    for it in people:
        it.start()
    for it in people:
        it.join()
    json.dump(outcomes, open(options.report, "w"))


if __name__ == "__main__":
    main()
