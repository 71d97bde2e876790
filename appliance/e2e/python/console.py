"""The console's session rules, tried from outside with Python's own HTTP client.

usage: console.py DEMO.json
"""

import base64
import hashlib
import hmac
import http.client
import json
import ssl
import struct
import sys
import time

passed = failed = 0


def claim(text, holds, detail=""):
    global passed, failed
    if holds:
        passed += 1
    else:
        failed += 1
        print(f"FAILED: {text} {detail}", flush=True)


def code_of(secret, step):
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.new(key, struct.pack(">Q", step), hashlib.sha1).digest()
    offset = digest[-1] & 15
    return "%06d" % ((struct.unpack(">I", digest[offset:offset + 4])[0] & 0x7FFFFFFF) % 1_000_000)


class Box:
    def __init__(self, demo):
        self.demo = demo
        self.host, self.port = demo["base_url"].removeprefix("https://").split(":")
        self.context = ssl.create_default_context(cafile=demo["ca_cert"])

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPSConnection(self.host, int(self.port), context=self.context, timeout=60)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            body = json.dumps(body)
            headers["content-type"] = "application/json"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer, text


def main():
    demo = json.load(open(sys.argv[1]))
    box = Box(demo)
    people = {it["role"]: it for it in demo["accounts"]}
    step = int(time.time()) // 30

    def credentials(role, code):
        return {"username": people[role]["username"], "password": people[role]["password"], "code": code}

    answer, text = box.ask("GET", "/api/session")
    claim("without a session there is nobody", answer.status == 401, text)
    claim("errors are problem documents", answer.getheader("content-type", "").startswith("application/problem+json"))
    claim("a problem says what to do", bool(json.loads(text).get("remedy")), text)

    right = credentials("user", code_of(people["user"]["totp_secret"], step))
    answer, text = box.ask("POST", "/api/session", right)
    claim("signing in needs the console's own header", answer.status in (400, 403), f"{answer.status} {text}")
    answer, text = box.ask("POST", "/api/session", right, x_jingui_console="1", sec_fetch_site="cross-site")
    claim("signing in from a foreign page is refused", answer.status == 403, f"{answer.status} {text}")

    cookies = {}
    for role in ("user", "audit"):
        # An account's step counts once; a later step of the window serves when something else used this one.
        for tried in (step, step + 1, step - 1):
            person = credentials(role, code_of(people[role]["totp_secret"], tried))
            answer, text = box.ask("POST", "/api/session", person, x_jingui_console="1")
            if answer.status == 200:
                break
        claim(f"{role} signs in", answer.status == 200, f"{answer.status} {text}")
        cookie = answer.getheader("set-cookie") or ""
        for part in ("__Host-jingui=", "HttpOnly", "Secure", "SameSite=Strict", "Path=/"):
            claim(f"the cookie has {part}", part.lower() in cookie.lower(), cookie)
        cookies[role] = cookie.split(";")[0]
        answer, text = box.ask("POST", "/api/session", person, x_jingui_console="1")
        claim("a code opens once", answer.status == 401 and "replayed" in text, f"{answer.status} {text}")

    answer, text = box.ask("GET", "/api/session", cookie=cookies["audit"])
    claim("a session says whose it is", json.loads(text).get("role") == "audit", text)
    answer, text = box.ask("GET", "/api/status", cookie=cookies["user"])
    claim("a session reads the status", answer.status == 200 and "guarantees" in text, text)
    answer, text = box.ask("GET", "/v1/models", cookie=cookies["user"])
    claim("a session does not open the inference API", answer.status == 401, text)
    answer, text = box.ask("GET", "/api/status", authorization="Bearer " + demo["api_key"])
    claim("an API key does not open the console", answer.status == 401, text)
    answer, text = box.ask("GET", "/v1/models")
    claim("without a key the inference API is closed", answer.status == 401 and "missing_api_key" in text, text)
    chat = {"messages": [{"role": "user", "content": "Who can read the audit log?"}], "temperature": 0,
            "model": demo["model"], "reasoning_effort": "none"}
    answer, text = box.ask("POST", "/api/chat", chat, cookie=cookies["user"])
    claim("a chat needs the console's own header", answer.status in (400, 403), text)
    answer, text = box.ask("POST", "/api/chat", chat, cookie=cookies["user"], x_jingui_console="1")
    claim("a session chats", "Only the auditor may read the audit log." in text, text)

    for path, status in (("/api/none", 404), ("/v1/none", 404), ("/chat", 200)):
        answer, text = box.ask("GET", path, cookie=cookies["user"])
        claim(f"{path} answers {status}", answer.status == status, f"{answer.status} {text[:200]}")
    answer, text = box.ask("DELETE", "/v1/chat/completions", authorization="Bearer " + demo["api_key"])
    claim("a wrong method answers 405 and an error object", answer.status == 405 and "error" in json.loads(text), text)
    answer, text = box.ask("GET", "/")
    policy = answer.getheader("content-security-policy") or ""
    for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"):
        claim(f"the policy has {part}", part in policy, policy)
    claim("the policy allows nothing inline", "unsafe-inline" not in policy and "unsafe-eval" not in policy, policy)

    answer, text = box.ask("DELETE", "/api/session", cookie=cookies["user"], x_jingui_console="1")
    claim("signing out", answer.status == 204, f"{answer.status} {text}")
    answer, text = box.ask("GET", "/api/session", cookie=cookies["user"])
    claim("a session that ended opens nothing", answer.status == 401, text)

    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
