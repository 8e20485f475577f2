"""Decoding with a beam: ours beside transformers' generate and CTranslate2.

    tools/venv/bin/python tools/benchmark/decode.py --model base --utterances 64

A+G+S targets; with random weights no system stops by itself, so every hypothesis of every system has the tokens that
an utterance of its length has (--tokens: the same number for all). Ours: log-mel included; on a GPU by CUDA graphs,
unless --graphs off, and once more with all of them captured. Peers: features ready made;
padded to 30 s, and for CTranslate2 also unpadded (utterances of similar length together, filled up to the longest).
CTranslate2 is timed where it is installed (the extra `export`).
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import WhisperTokenizer
from workload import Vocabulary, batches, hf_whisper, machine, options, our_whisper, report, seconds_of

from whisper_er.config import DecodeConfig
from whisper_er.process.device import autocast


def main() -> None:
    parser = options(__doc__, utterances=64)
    parser.add_argument("--beam_size", type=int, default=4, help="%(default)s")
    parser.add_argument("--graphs", choices=("auto", "off"), default="auto", help="ours on a GPU: auto by CUDA graphs")
    parser.add_argument("--batch_seconds", type=float, default=0, help="ours: instead of --batch_size (%(default)s)")
    parser.add_argument("--tokens", type=int, default=20, help="of every hypothesis, the prefix left out (%(default)s)")
    parser.add_argument(
        "--peers", default="transformers ctranslate2", help='or transformers_static; "": none (%(default)s)'
    )
    parser.add_argument("--peer_batches", type=int, default=1, help="padded batches to time (%(default)s)")
    args = parser.parse_args()
    device, config = torch.device(args.device), DecodeConfig(beam_size=args.beam_size, graphs=args.graphs)

    model = our_whisper(hf_whisper(args.model, args.device), args.pad).eval()
    model.max_tokens = lambda batch, ratio: torch.full_like(batch.samples_B, args.tokens)
    prepared = list(batches(model.tokenizer, args.batch_size, args.utterances))
    own = prepared
    if args.batch_seconds:
        own = list(batches(model.tokenizer, args.batch_size, args.utterances, batch_seconds=args.batch_seconds))

    def ours(batch) -> None:
        with autocast(device, args.dtype):
            model.predict(batch.to(device), config)

    if args.dtype == "float32":
        model.pack()
    ours(own[0])
    rows = [["system", "utt/s", "s/batch"]]
    for name in ["ours"] if args.device == "cpu" or args.graphs == "off" else ["ours", "ours, all captured"]:
        for batch in own if name != "ours" else []:  # graphs of the first pass left where the memory of a search grew
            ours(batch)
        taken = sum(seconds_of(lambda batch=batch: ours(batch), args.device) for batch in own)
        rows.append([name, sum(map(len, own)) / taken, taken / len(own)])

    if "transformers" in args.peers.split():
        rows.append(["transformers, 30 s", *transformers_generate(args, prepared[: args.peer_batches])])
    if "transformers_static" in args.peers.split():
        rates = transformers_generate(args, prepared[: args.peer_batches], cache_implementation="static")
        rows.append(["transformers, 30 s, static cache", *rates])
    if "ctranslate2" in args.peers.split():
        rows += ctranslate2_generate(args, prepared)
    ours_per_second = rows[1][1]
    batch = f"{args.batch_seconds:g} s" if args.batch_seconds else args.batch_size
    print(
        f"{machine(args.device)}; {args.model}, {args.dtype}, batch {batch}, graphs {args.graphs}, "
        f"beam {args.beam_size}, {args.tokens} tokens, pad {args.pad}"
    )
    report(
        {
            "benchmark": "decode",
            "model": args.model,
            "device": machine(args.device),
            "dtype": args.dtype,
            "graphs": args.graphs,
            "batch_seconds": args.batch_seconds,
            "beam_size": args.beam_size,
            "tokens": args.tokens,
            "pad": args.pad,
        },
        systems=[[*rows[0], "ours is faster by"], *([*row, ours_per_second / row[1]] for row in rows[1:])],
    )


def transformers_generate(args, prepared, **options) -> list[float]:
    """Utterances a second and seconds a batch. On a GPU transformers compiles the decoder for a static cache."""
    device = torch.device(args.device)
    whisper = hf_whisper(args.model, args.device).eval()

    def generate(batch) -> None:
        features = torch.randn(len(batch), whisper.config.num_mel_bins, 3000, device=device)
        with torch.no_grad(), autocast(device, args.dtype):
            whisper.generate(
                features,
                num_beams=args.beam_size,
                min_new_tokens=args.tokens,
                do_sample=False,
                max_new_tokens=args.tokens,
                **options,
            )

    generate(prepared[0])
    taken = sum(seconds_of(lambda batch=batch: generate(batch), args.device) for batch in prepared)
    return [sum(map(len, prepared)) / taken, taken / len(prepared)]


def ctranslate2_generate(args, prepared) -> list[list]:
    try:
        import ctranslate2
    except ImportError:
        print("ctranslate2 is not installed: left out (pip install 'whisper_er[export]')")
        return []
    with tempfile.TemporaryDirectory() as directory:
        hf = hf_whisper(args.model)
        hf.save_pretrained(Path(directory, "hf"))
        write_tokenizer(Path(directory, "hf"), hf.config.vocab_size)
        converter = ctranslate2.converters.TransformersConverter(str(Path(directory, "hf")))
        converter.convert(str(Path(directory, "ct2")))
        whisper = ctranslate2.models.Whisper(
            str(Path(directory, "ct2")),
            device=args.device,
            compute_type=args.dtype,
            intra_threads=torch.get_num_threads(),
            inter_threads=1,
        )
        num_bins = whisper.num_mels if hasattr(whisper, "num_mels") else 80

        def generate(number: int, frames: int) -> None:
            features = np.random.default_rng(0).standard_normal((number, num_bins, frames)).astype(np.float32)
            found = whisper.generate(
                ctranslate2.StorageView.from_array(features),
                [Vocabulary(hf.config.vocab_size).prefix] * number,
                beam_size=args.beam_size,
                max_length=2 * args.tokens,  # of which it takes half
                suppress_tokens=[50257],
                suppress_blank=False,
            )
            said = {len(one.sequences_ids[0]) for one in found}
            assert said == {args.tokens}, f"CTranslate2 said {said} tokens"

        rows = []
        for title, plan in (
            ("CTranslate2, 30 s", [(len(b), 3000) for b in prepared[: args.peer_batches]]),
            ("CTranslate2, unpadded", [(len(b), -(-b.wave_BS.shape[1] // 320) * 2) for b in prepared]),
        ):
            generate(*plan[0])
            taken = sum(seconds_of(lambda own=own: generate(*own), args.device) for own in plan)
            rows.append([title, sum(number for number, _ in plan) / taken, taken / len(plan)])
        return rows


def write_tokenizer(directory: Path, size: int) -> None:
    """A vocabulary with Whisper's ids, which the converter wants; its words are numbers."""
    words = [*sorted(ByteLevel.alphabet())]
    words += [f"word{i}" for i in range(50257 - len(words))]
    tokenizer = WhisperTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[])
    named = {
        50258: "<|startoftranscript|>",
        50259: "<|en|>",
        size - 1506: "<|transcribe|>",
        size - 1502: "<|notimestamps|>",
        size - 1503: "<|nospeech|>",
    }
    special = [named.get(index, f"<|special{index}|>") for index in range(len(tokenizer), size)]
    tokenizer.add_special_tokens({"extra_special_tokens": special})
    assert len(tokenizer) == size
    tokenizer.save_pretrained(directory)


if __name__ == "__main__":
    main()
