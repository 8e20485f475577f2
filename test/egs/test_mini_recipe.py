"""egs/mini_emo/ser1/run.sh through every stage, on a copy of the recipes with a small corpus and few steps."""

import json
from pathlib import Path

import pytest
from recipe_copy import copy_recipes, run_script
from safetensors.numpy import load_file

from whisper_er.data import kaldi

SMALL = ("--local_data_opts", "--utterances_per_speaker 8", "--nj", "1")
FEW_STEPS = "max_steps=20 valid_interval=10 log_interval=10 n_best=3"
STEPS = ("--ser_args", FEW_STEPS)
# After 20 steps the two searches need not agree.
EXPORT = ("--skip_export", "false", "--ctranslate2", "float32", "--ctranslate2_allow_different", "16")
CORPUS_SIZE, TEST_SIZE = 80, 16  # 10 voices; fold 1 tests two of them


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, warm_python) -> Path:
    return copy_recipes(tmp_path_factory.mktemp("with space"), warm_python) / "mini_emo/ser1"


def run(recipe: Path, *options: str) -> str:
    return run_script(recipe / "run.sh", *SMALL, *options)


@pytest.fixture(scope="module")
def first(recipe) -> str:
    return run(recipe, *STEPS, "--ser_tag", "mtl", "--inference_nj", "2", *EXPORT)


def test_one_command_goes_from_nothing_to_a_table_of_scores(recipe, first):
    words = " ".join(first.split())
    assert "| fold | utterances | WER | WER raw | gender accuracy | emotion WA | emotion UA | emotion F1 |" in words
    assert "exp/mtl/RESULTS.md" in words and f"of {TEST_SIZE} utterances {TEST_SIZE} are in this file" in words
    assert "<title>Results of mtl</title>" in (recipe / "exp/mtl/report.html").read_text()
    result = json.loads((recipe / "exp/mtl/fold1/decode_default/test/score/result.json").read_text())
    assert result["num_utterances"] == TEST_SIZE
    assert set(result["tasks"]) == {"asr", "gender", "emotion"}


def test_every_utterance_of_the_test_set_is_decoded_by_the_averaged_model(recipe, first):
    hyp = recipe / "exp/mtl/fold1/decode_default/test"
    assert kaldi.utterances(kaldi.read_dir(hyp)) == kaldi.utterances(kaldi.read_dir(recipe / "dump/fold1/test"))
    posteriors = [json.loads(line) for line in (hyp / "posteriors.jsonl").read_text().splitlines()]
    assert len(posteriors) == TEST_SIZE
    for line in posteriors:
        assert sum(line["emotion"].values()) == pytest.approx(1, abs=1e-4)
    assert json.loads((hyp / "decode.json").read_text())["model"] == "valid_emotion_accuracy.ave_2best.safetensors"


def test_only_the_mean_and_the_best_checkpoint_stay(recipe, first):
    exp_dir = recipe / "exp/mtl/fold1"
    best = json.loads((exp_dir / "checkpoints/best.json").read_text())["best"][0]["step"]
    found = {str(path.relative_to(exp_dir)) for path in exp_dir.rglob("*.safetensors") if "export" not in path.parts}
    mean = {"valid_emotion_accuracy.ave_2best.safetensors", "ave.safetensors"}
    assert found == {f"checkpoints/step{best:06d}.safetensors", *mean}


def test_folds_do_not_share_speakers_and_lose_no_utterance(recipe, first):
    parts = [kaldi.read_dir(recipe / f"dump/fold1/{name}") for name in ("train", "valid", "test")]
    assert sum(len(part["utt2spk"]) for part in parts) == CORPUS_SIZE
    assert sum(len(set(part["utt2spk"].values())) for part in parts) == 10


def test_the_same_command_again_trains_decodes_and_scores_nothing(recipe, first):
    averaged = recipe / "exp/mtl/fold1/ave.safetensors"
    before = averaged.stat().st_mtime_ns
    out = run(recipe, *STEPS, "--ser_tag", "mtl", "--inference_nj", "2", *EXPORT)
    assert averaged.stat().st_mtime_ns == before
    assert [stage for stage in "12457" if f"stage {stage}:" in out] == []
    assert "max_steps=20 reached" in (recipe / "exp/mtl/fold1/train.log").read_text().splitlines()[-2]


def test_the_conventional_method_goes_the_same_road(recipe, first):
    out = run(
        recipe,
        "--ser_args",
        f"{FEW_STEPS} model.kind=encoder_classifier",
        "--tasks",
        "emotion gender",
        "--ser_tag",
        "conventional",
        "--stage",
        "2",
    )
    assert "emotion UA" in out and "gender accuracy" in out and "WER" not in out


def test_speakers_whom_training_has_not_heard_can_be_an_open_task(recipe, first):
    few = ("--ser_args", "max_steps=4 valid_interval=2 n_best=1", "--stage", "2", "--stop_stage", "6")
    out = run(recipe, *few, "--tasks", "asr speaker emotion", "--open_tasks", "speaker")
    exp = recipe / "exp/train_mini_max_steps=4_valid_interval=2_n_best=1_asr_speaker_emotion_open_speaker"
    note = f"speaker: {TEST_SIZE} of {TEST_SIZE} utterances have a label that training lacks: unlabelled"
    assert "speaker accuracy" in out and note in (exp / "RESULTS.md").read_text()


def test_the_exported_directory_opens_in_transformers_with_the_averaged_weights(recipe, first):
    from transformers import WhisperForConditionalGeneration

    whisper = WhisperForConditionalGeneration.from_pretrained(recipe / "exp/mtl/fold1/export")
    averaged = load_file(recipe / "exp/mtl/fold1/ave.safetensors")
    assert (whisper.proj_out.weight.detach().numpy() == averaged["decoder.embed_tokens.weight"]).all()
    card = (recipe / "exp/mtl/fold1/export/README.md").read_text()
    assert "mini_emo" in card and "decode_default/test" in card
    check = json.loads((recipe / "exp/mtl/fold1/export_ctranslate2/check.json").read_text())
    assert check["num_utterances"] == TEST_SIZE
