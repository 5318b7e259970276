"""How a deployment is called: by curl, and by OpenAI's client for Python."""

import json
import shlex

from tpdeploy.launcher.access import API_KEY
from tpdeploy.launcher.state import Deployment

CURL = """\
curl {url} \\
    -H 'Content-Type: application/json' {key}\\
    -d {body}
"""
PYTHON = """\
{imports}from openai import OpenAI

client = OpenAI(base_url="{url}/v1", api_key={key})
answer = client.{call}.create(model={model}, {asked})
print(answer.choices[0].{text})
"""
HELLO = "Hello!"


def calls(deployment: Deployment, *, chats: bool, keyed: bool) -> str:
    """Two programs that ask it something; a model that does not chat continues a text."""
    model, url = deployment.model, deployment.url
    message = {"messages": [{"role": "user", "content": HELLO}]}
    content = message if chats else {"prompt": HELLO}
    curl = CURL.format(
        url=f"{url}/v1/{'chat/' if chats else ''}completions",
        key=f'-H "Authorization: Bearer ${API_KEY}" ' if keyed else "",
        body=shlex.quote(json.dumps({"model": model, **content})),
    )
    python = PYTHON.format(
        imports="import os\n" if keyed else "",
        url=url,
        key=f'os.environ["{API_KEY}"]' if keyed else '"none"',
        call="chat.completions" if chats else "completions",
        model=json.dumps(model),
        asked=", ".join(f"{name}={json.dumps(value)}" for name, value in content.items()),
        text="message.content" if chats else "text",
    )
    return f"{curl}\n{python}"
