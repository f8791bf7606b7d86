"""Many requests at once, a bounded number of them open, and back-off where it is too many.

Settings: none
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, which ends in /v1. MODEL, where it is not the only one.
"""

import asyncio
import os
import random
import sys

import openai

endpoint, key = os.environ.get("ENDPOINT_ID"), os.environ.get("RUNPOD_API_KEY", "none")
url = os.environ.get("BASE_URL") or endpoint and f"https://api.runpod.ai/v2/{endpoint}/openai/v1"
if not url:
    sys.exit("Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL, which ends in /v1.")
model = os.environ.get("MODEL", "default")  # "default" is whatever the endpoint serves
AT_ONCE, TRIES, LONGEST = 16, 8, 30.0  # requests, tries of each, seconds between two
QUESTIONS = [f"What is the capital of {country}?" for country in ("France", "Japan", "Italy")] * 8


async def ask(client: openai.AsyncOpenAI, room: asyncio.Semaphore, question: str) -> str:
    for attempt in range(TRIES):
        async with room:
            try:
                reply = await client.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=30)
                return reply.choices[0].message.content
            except openai.RateLimitError as error:  # 429, of RunPod or of a busy worker over HTTP
                if attempt == TRIES - 1:
                    raise
                said = error.response.headers.get("retry-after", "")
                wait = float(said) if said.isdigit() else min(LONGEST, 0.5 * 2 ** attempt) * random.uniform(0.5, 1)
        await asyncio.sleep(wait)  # outside, so that others have the room meanwhile
    raise AssertionError


async def main() -> None:
    room = asyncio.Semaphore(AT_ONCE)
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
        answers = await asyncio.gather(*(ask(client, room, question) for question in QUESTIONS))
    for question, answer in list(zip(QUESTIONS, answers, strict=True))[:3]:
        print(f"{question} {answer}")
    print(f"{len(answers)} answers")


try:
    asyncio.run(main())
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
