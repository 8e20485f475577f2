"""A teacher for the text: its loss against torch's, where it applies, who may teach, and what training keeps of it."""

import shutil

import pytest
import torch
import torch.nn.functional as F
import yaml
from tiny_experiment import call, train_arguments
from tiny_whisper import batch_of, logits_of, tasks_of, tiny_model, write_utterances

from whisper_er.base.errors import UserError
from whisper_er.base.weights import load_weights, save_weights
from whisper_er.batch import IGNORE
from whisper_er.bin import train
from whisper_er.config import DistilConfig, ModelConfig, TrainConfig
from whisper_er.models.build import build_model
from whisper_er.retain.distillation import Distillation, distil, further_speakers
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.train.experiment import check_unseen

VALUES = [
    {"asr": "really good .", "gender": "male", "emotion": "happy"},
    {"asr": "", "gender": "female", "emotion": "sad"},
    {"asr": "good day", "gender": "", "emotion": "angry"},
]
# The training and validation sets of a teacher.
OF_ANOTHER_CORPUS = yaml.safe_dump(
    {name: {"num_utterances": 4, "speakers": ["test-speaker"]} for name in ("train_set", "valid_set")}
)


@pytest.fixture
def lesson(bpe_tokens, tmp_path):
    """A student of three tasks, a teacher of the text alone, and a batch."""
    student = tiny_model(Tokenizer(bpe_tokens, tasks_of("asr gender emotion"), "bpe", "en"))
    teacher = tiny_model(Tokenizer(bpe_tokens, tasks_of("asr"), "bpe", "en"), seed=1)
    return student, teacher, batch_of(write_utterances(tmp_path, [0.4, 0.5, 0.3], VALUES), student.tokenizer)


@torch.no_grad()
@pytest.mark.parametrize("temperature,normalize", [(1.0, True), (2.0, False)])
def test_the_loss_is_torch_s_divergence_at_the_places_of_the_text(lesson, temperature, normalize):
    student, teacher, batch = lesson
    size, end, expected = teacher.tokenizer.text.size, student.tokenizer.end, 0.0
    for b in range(len(batch)):
        is_text_L = (batch.target_BL[b] != IGNORE) & (batch.task_BL[b] == 0)
        readable = batch.each(lambda tensor: tensor)
        readable.input_BL = torch.where(batch.input_BL < size, batch.input_BL, end)
        said, taught = logits_of(student, batch)[b, is_text_L, :size], logits_of(teacher, readable)[b, is_text_L]
        kl = F.kl_div((said / temperature).log_softmax(-1), (taught / temperature).softmax(-1), reduction="sum")
        expected += float(kl) / (max(1, int(is_text_L.sum())) if normalize else 1)
    loss = Distillation(teacher, DistilConfig(weight=3, temperature=temperature), normalize)
    found = loss(batch, logits_of(student, batch).flatten(0, 1)[batch.learned_N])
    assert expected > 0.1 and float(found) == pytest.approx(3 * temperature**2 * expected, rel=1e-4)


def test_it_is_added_in_training_alone_and_the_teacher_gets_no_gradient(lesson):
    student, teacher, batch = lesson
    without = student.train()(batch).loss
    student.distillation = Distillation(teacher, DistilConfig(), normalize=True)
    with_teacher = student(batch)
    assert with_teacher.loss > without + 0.1 and torch.equal(student.eval()(batch).loss, without)
    assert float(with_teacher.nll_K[-1]) == pytest.approx(float((with_teacher.loss - without).detach()), rel=1e-5)
    assert len(with_teacher.nll_K) == 4 and with_teacher.count_K[-1] == len(batch)
    with_teacher.loss.backward()
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not set(map(id, student.parameters())) & set(map(id, teacher.parameters()))
    assert torch.equal(student.train()(batch.silenced()).loss, torch.zeros(()))


def test_a_student_that_starts_from_its_teacher_has_nothing_to_learn_from_it(
    whisper_directory, whisper_tokens, tmp_path
):
    config = TrainConfig(
        ModelConfig(whisper_model=str(whisper_directory)), distil=DistilConfig("pretrained", pad="none")
    )
    tokenizer = Tokenizer(whisper_tokens, tasks_of("asr gender emotion"), "whisper", "en")
    student = build_model(config, tokenizer)
    batch = batch_of(write_utterances(tmp_path, [0.4, 0.5, 0.3], VALUES), tokenizer)
    assert distil(student, config, "fold1", tmp_path, tmp_path) == []
    logits_NV = logits_of(student, batch).flatten(0, 1)[batch.learned_N]
    assert abs(float(student.distillation(batch, logits_NV))) < 1e-5
    assert "distillation" not in " ".join(student.state_dict())
    student.decoder.embed_tokens.weight.data[:5] *= 2
    logits_NV = logits_of(student, batch).flatten(0, 1)[batch.learned_N]
    assert float(student.distillation(batch, logits_NV)) > 1e-3


def test_an_experiment_teaches_the_fold_of_its_name_and_stays_out_of_what_training_writes(
    corpus, trained, tmp_path, no_git
):
    shutil.copytree(trained / "exp", tmp_path / "stl/fold1", ignore=shutil.ignore_patterns("checkpoints"))
    (tmp_path / "stl/fold1/data.yaml").write_text(OF_ANOTHER_CORPUS)
    options = ["max_steps=2", "keep_checkpoints=true", "log_interval=1", f"distil.model={tmp_path / 'stl'}"]
    runs = {"off": options[:3], "on": options, "again": options}
    for name, overrides in runs.items():
        call(train, *train_arguments(corpus, tmp_path / name / "fold1", *overrides))
    states = {name: load_weights(tmp_path / name / "fold1/checkpoints/step000002.safetensors") for name in runs}
    off, on, again = states["off"], states["on"], states["again"]
    assert off.keys() == on.keys() and all(torch.equal(on[key], again[key]) for key in on)
    assert not torch.equal(off["decoder.embed_tokens.weight"], on["decoder.embed_tokens.weight"])
    assert "loss_distil" in (tmp_path / "on/fold1/metrics.jsonl").read_text()

    with pytest.raises(UserError, match="was trained on 1 of its speakers: test-speaker"):
        check_unseen(tmp_path / "on/fold1", corpus / "test")
    save_weights(load_weights(tmp_path / "off/fold1/checkpoints/step000002.safetensors"),
                 tmp_path / "stl/fold1/ave.safetensors")  # fmt: skip
    with pytest.raises(UserError, match="was started with another configuration: teacher.sha256: "):
        call(train, *train_arguments(corpus, tmp_path / "on/fold1", *options))


@pytest.mark.parametrize("number", range(1, 6))
def test_only_the_fold_of_the_same_training_speakers_teaches(tmp_path, number):
    """Five folds of a speaker each: test on fold k, validate on k mod 5 + 1."""

    def speakers(fold: int) -> set[str]:
        return {f"s{other}" for other in range(1, 6) if other not in (fold, fold % 5 + 1)}

    refused = []
    for other in range(1, 6):
        sets = {name: {"num_utterances": 3, "speakers": sorted(speakers(other))} for name in ("train_set", "valid_set")}
        (tmp_path / "data.yaml").write_text(yaml.safe_dump(sets))
        try:
            assert further_speakers(tmp_path, speakers(number), {f"s{number % 5 + 1}"}) == []
        except UserError:
            refused.append(other)
    assert refused == [other for other in range(1, 6) if other != number]
    assert further_speakers(tmp_path, {"x"}, {"y"}) == sorted(speakers(5))


def test_who_cannot_teach_or_be_taught_is_told_why(bpe_tokens, whisper_directory, trained, tmp_path):
    def refused(tasks: str, fold: str = "fold1", **options) -> str:
        tokenizer = Tokenizer(bpe_tokens, tasks_of(tasks), "bpe", "en")
        with pytest.raises(UserError) as caught:
            config = TrainConfig(**options)
            distil(tiny_model(tokenizer), config, fold, tmp_path / "train", tmp_path / "valid")
        return str(caught.value)

    teacher = DistilConfig(str(trained / "exp"))
    assert "the text has to be the first task" in refused("gender emotion asr", distil=teacher)
    assert "allowed: ddp with distil.model" in refused("asr emotion", distil=teacher, parallel="fsdp")
    classifier = ModelConfig(kind="encoder_classifier")
    assert "allowed: seq2seq with distil.model" in refused("asr emotion", distil=teacher, model=classifier)
    assert "starts from no pretrained model" in refused("asr emotion", distil=DistilConfig("pretrained"))
    other = DistilConfig(str(whisper_directory))  # another vocabulary
    assert refused("asr emotion", distil=other).startswith(f"distil.model={whisper_directory}: the token list extends")
    assert "has no decoder that writes the tokens" in refused("asr emotion", distil=teacher)  # another bpe
