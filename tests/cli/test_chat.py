"""`codegemma chat`: one question, and conversations."""

import json

import pytest

from keras_codegemma.cli.chat import converse

UNTUNED = (
    "codegemma: code_gemma_tiny is not instruction-tuned: expect text, not answers. Made for chat: "
    "code_gemma_1.1_instruct_7b_en, code_gemma_instruct_7b_en.\n"
)


class Parrot:
    """Answers with the number of messages, and remembers them."""

    def __init__(self):
        self.asked = []

    def chat(self, messages, *, stream, **options):
        self.asked.append([dict(message) for message in messages])
        last = messages[-1]["content"]
        if last == "too long":
            raise ValueError("A prompt must be shorter.")
        return self._pieces(last)

    def _pieces(self, last):
        yield "answer "
        if last == "stop me":
            raise KeyboardInterrupt
        yield f"to {last}"


def user(text):
    return {"role": "user", "content": text}


def model(text):
    return {"role": "assistant", "content": text}


def test_one_question_is_answered_and_an_untuned_model_is_remarked(codegemma, tiny):
    result = codegemma("chat", "Hi", "--max-new-tokens", 4)
    answer = tiny.chat([user("Hi")], max_new_tokens=4)
    assert (result.exit_code, result.stderr) == (0, UNTUNED)
    assert result.stdout.removesuffix("\n") == answer.removesuffix("\n")


def test_json_holds_the_messages_and_the_answer(codegemma):
    result = codegemma("chat", "--system", "Be brief.", "--json", "--max-new-tokens", 4, input="Hi")
    document = json.loads(result.stdout)
    assert document["messages"] == [{"role": "system", "content": "Be brief."}, user("Hi")]
    assert isinstance(document["text"], str)


def test_an_empty_message_is_wrong_use(codegemma):
    result = codegemma("chat", "")
    assert result.stderr == "codegemma chat: The message must not be empty; got no text. Give at least one word.\n"
    assert result.exit_code == 2


def test_a_conversation_remembers(capsys):
    parrot = Parrot()
    converse(parrot, [], {}, questions=iter(["one", "  ", "two\n"]))
    assert parrot.asked == [[user("one")], [user("one"), model("answer to one"), user("two")]]
    assert capsys.readouterr().out == "answer to one\nanswer to two\n"


def test_a_conversation_can_start_anew_and_keeps_its_instructions():
    parrot = Parrot()
    start = [{"role": "system", "content": "Be brief."}]
    converse(parrot, start, {}, questions=iter(["one", "/reset", "two"]))
    assert parrot.asked[1] == [*start, user("two")]


def test_exit_ends_a_conversation():
    parrot = Parrot()
    converse(parrot, [], {}, questions=iter(["/exit", "one"]))
    assert parrot.asked == []


@pytest.mark.parametrize(
    ("question", "remark"),
    [
        ("stop me", "codegemma: stopped; this question and its answer are forgotten.\n"),
        ("too long", "codegemma: A prompt must be shorter. /reset starts anew.\n"),
    ],
)
def test_a_question_without_an_answer_is_forgotten(capsys, question, remark):
    parrot = Parrot()
    converse(parrot, [], {}, questions=iter([question, "one"]))
    assert parrot.asked[1] == [user("one")]
    assert capsys.readouterr().err == remark
