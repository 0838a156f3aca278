"""How a chat answers, and what of it is kept (spec C3)."""

import pytest

from prepaid import AgentConfig, InvalidRequestError, ModelNotSupported, OfflineModel


@pytest.mark.parametrize(
    "config",
    [
        AgentConfig(),
        AgentConfig(temperature=0.0),
        AgentConfig(fallback_models=()),
        AgentConfig(
            "gpt-4o-mini", "openai", "Be brief.", ("a", "b"), temperature=0.7, max_output_tokens=9, debug=True
        ),
    ],
)
def test_what_is_kept_comes_back_whole(config):
    assert AgentConfig().with_kept(config.to_json()) == config


def test_what_lives_in_a_process_must_be_given_again():
    kept = AgentConfig(tools=[print], system_prompt="Count.").to_json()
    with pytest.raises(InvalidRequestError, match="attach"):
        AgentConfig().with_kept(kept)
    again = AgentConfig(tools=[print]).with_kept(kept)
    assert (again.system_prompt, list(again.tools)) == ("Count.", [print])


def test_what_cannot_be():
    with pytest.raises(ModelNotSupported, match="spare"):
        AgentConfig(current_provider="main", providers={"spare": OfflineModel()})
    with pytest.raises(InvalidRequestError, match="0"):
        AgentConfig(max_output_tokens=0)
