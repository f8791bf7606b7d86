"""A job whose result RunPod brings: no asking. WEBHOOK_URL must lead to WEBHOOK_PORT (8080) of this machine.

Settings: none
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, an endpoint's address for OpenAI clients (…/openai/v1).
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

import requests

endpoint, key = os.environ.get("ENDPOINT_ID"), os.environ.get("RUNPOD_API_KEY", "none")
url = os.environ.get("BASE_URL", "").removesuffix("/openai/v1") or endpoint and f"https://api.runpod.ai/v2/{endpoint}"
if not url:
    sys.exit("Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL, which ends in /openai/v1.")
session = requests.Session()
session.headers["Authorization"] = f"Bearer {key}"

address = os.environ.get("WEBHOOK_URL") or sys.exit("Set WEBHOOK_URL, an address of this program that RunPod reaches.")


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)  # anything else, and RunPod tries twice more
        self.end_headers()
        self.server.job = job

    def log_message(self, *args) -> None:
        pass


with HTTPServer(("", int(os.environ.get("WEBHOOK_PORT", "8080"))), Receiver) as server:
    server.job, server.timeout = None, 300
    asked = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0}
    sent = session.post(f"{url}/run", json={"input": asked, "webhook": address}, timeout=30).json()
    if "id" not in sent:
        sys.exit(f"The endpoint took no job: {sent}")
    server.handle_request()
job = server.job or sys.exit("Nothing came within 300 s.")
if job["status"] != "COMPLETED":
    sys.exit(f"{job['status']}: {job.get('error')}")
print(job["output"][0]["choices"][0]["message"]["content"])
