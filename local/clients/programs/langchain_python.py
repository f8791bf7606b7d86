"""LangChain: langchain-openai's ChatOpenAI and OpenAIEmbeddings."""

from checking import ANSWER, FACTS, KEY, KIND, MODEL, QUESTION, URL, refused, run, same
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

OPTIONS = {"base_url": URL + "/v1", "api_key": KEY, "max_retries": 0}


def model(**more):
    return ChatOpenAI(model=MODEL, temperature=0, **OPTIONS, **more)


def invoke():
    same(model().invoke(QUESTION).content, ANSWER)


def stream():
    same("".join(chunk.content for chunk in model().stream(QUESTION)), ANSWER)


def tools():
    reply = model().bind_tools([FACTS["weather_tool"]]).invoke(FACTS["weather_prompt"])
    same([(call["name"], call["args"]) for call in reply.tool_calls], [("get_weather", FACTS["weather_arguments"])])


def structured():
    schema = {"title": "place", "description": "A place.", **FACTS["json_schema"]}
    reply = model(max_tokens=200).with_structured_output(schema, method="json_schema").invoke(FACTS["json_prompt"])
    same(reply, FACTS["json_answer"])


def responses():
    same(model(use_responses_api=True).invoke(QUESTION).text, ANSWER)


def refusal():
    try:
        ChatOpenAI(model="gpt-4", **OPTIONS).invoke(QUESTION)
    except Exception as error:
        return refused(error)
    raise AssertionError("not refused")


def embeddings():
    # Without this it sends token ids of OpenAI's own tokenizer, which it wants to download.
    made = OpenAIEmbeddings(model=MODEL, check_embedding_ctx_length=False, **OPTIONS).embed_documents(["Paris", "Rome"])
    same([len(vector) for vector in made], [FACTS["width"]] * 2)


run(*((invoke, stream, tools, structured, responses, refusal) if KIND == "generation" else (embeddings,)))
