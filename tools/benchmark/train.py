"""Training: our step beside transformers' usual one on 30 s, and what the machine could do.

    tools/venv/bin/python tools/benchmark/train.py --model base --utterances 160
    tools/venv/bin/python tools/benchmark/train.py --model base --dtype bfloat16

A step is forward, backward and AdamW on a batch. Ours: log-mel included, A+G+S targets, bucketed by length, padded by
--pad; on a GPU by CUDA graphs, unless --graphs off. transformers': the same targets, features of 30 s ready made,
attention by sdpa, its own loss. The systems take turns, so that other work on the machine slows all of them; the first
step of each is not timed. On a GPU the mean of five steps in a row is taken: the host prepares one during the other.
There also: the rate of one large product, the card's peak, and how long kernels run of the time of a step.
"""

import torch
from busy import busy_seconds
from limit import peak_rate, record, run_alone
from workload import batches, hf_whisper, machine, options, our_whisper, report, seconds_of

from whisper_er.batch import Batch
from whisper_er.config import TrainConfig
from whisper_er.graphs.passes import Passes, passes
from whisper_er.process.device import autocast
from whisper_er.step.bfloat16_copies import Bfloat16Copies


class System:
    """A model with its optimizer, and the time and FLOPs of its steps."""

    def __init__(self, name: str, model: torch.nn.Module, args) -> None:
        self.name, self.model, self.args = name, model.train(), args
        self.copies = Bfloat16Copies(())
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
        self.graphs: Passes | None = None
        self.repeats = 1 if args.device == "cpu" else 5
        self.steps = self.utterances = self.flops = self.product_flops = 0
        self.seconds = self.product_seconds = 0.0

    def step(self, batch: Batch) -> None:
        with self.copies.in_use():
            with autocast(torch.device(self.args.device), self.args.dtype):
                loss = self.loss(batch.to(self.args.device))
            loss.backward()
        self.update()

    def update(self) -> None:
        self.optimizer.step()
        self.copies.write()
        self.optimizer.zero_grad(set_to_none=self.graphs is None)

    def timed_steps(self, batch: Batch) -> None:
        for _ in range(self.repeats):
            if self.graphs:
                self.graphs(batch, 1 / len(batch))
                self.update()
            else:
                self.step(batch)

    def time(self, batch: Batch) -> None:
        if not self.steps:
            self.step(batch)
        flops, products = record(lambda: self.step(batch))
        if self.graphs:
            self.timed_steps(batch)  # in which one is captured
        self.seconds += seconds_of(lambda: self.timed_steps(batch), self.args.device) / self.repeats
        self.steps, self.utterances, self.flops = self.steps + 1, self.utterances + len(batch), self.flops + flops
        flops, seconds = run_alone(products, self.args.device)
        self.product_flops, self.product_seconds = self.product_flops + flops, self.product_seconds + seconds

    def busy(self, batch: Batch) -> float:
        """The share of a step's time in which the GPU works."""
        seconds = seconds_of(lambda: self.timed_steps(batch), self.args.device)
        return busy_seconds(lambda: self.timed_steps(batch)) / seconds

    def row(self) -> list:
        rate, limit = self.flops / self.seconds, self.product_flops / self.product_seconds
        return [
            self.name,
            self.utterances / self.seconds,
            self.seconds / self.steps,
            rate / 1e9,
            limit / 1e9,
            rate / limit,
        ]


class Ours(System):
    def __init__(self, name: str, model: torch.nn.Module, args) -> None:
        super().__init__(name, model, args)
        self.copies = Bfloat16Copies(model.modules() if args.bfloat16_weights else ())
        names = ("dtype", "graphs", "compile", "activation_checkpointing")
        config = TrainConfig(**{name: getattr(args, name) for name in names})
        self.graphs = passes(self.model, config, torch.device(args.device), self.copies.in_use)

    def loss(self, batch: Batch) -> torch.Tensor:
        return self.model(batch).loss / len(batch)


class Transformers(System):
    def loss(self, batch: Batch) -> torch.Tensor:
        config = self.model.config
        features = torch.randn(len(batch), config.num_mel_bins, 3000, device=batch.wave_BS.device)
        return self.model(
            features,
            labels=batch.target_BL.clamp(max=config.vocab_size - 1),
            decoder_input_ids=batch.input_BL.clamp(max=config.vocab_size - 1),
        ).loss


def main() -> None:
    parser = options(__doc__, utterances=160)
    parser.add_argument("--systems", default="ours transformers", help="which are timed (%(default)s)")
    parser.add_argument("--peer_batches", type=int, default=2, help="padded batches to time (%(default)s)")
    parser.add_argument("--graphs", choices=("auto", "off"), default="auto", help="ours on a GPU: auto by CUDA graphs")
    parser.add_argument("--compile", action="store_true", help="our layers by torch.compile, in graphs")
    parser.add_argument("--activation_checkpointing", action="store_true", help="in our model")
    parser.add_argument("--bfloat16_weights", action="store_true", help="in our model, with --dtype bfloat16")
    args = parser.parse_args()
    systems = args.systems.split()
    hf = hf_whisper(args.model, args.device)
    whisper = our_whisper(hf, args.pad, activation_checkpointing=args.activation_checkpointing)
    prepared = list(batches(whisper.tokenizer, args.batch_size, args.utterances))
    if args.device != "cpu":
        prepared = [batch.pin_memory() for batch in prepared]
    ours = Ours("ours", whisper, args) if "ours" in systems else None
    peer = None
    if "transformers" in systems:
        peer = Transformers("transformers, 30 s", hf_whisper(args.model, args.device), args)
    every = max(1, len(prepared) // args.peer_batches)
    for number, batch in enumerate(prepared):
        if ours:
            ours.time(batch)
        if peer and number % every == 0 and peer.steps < args.peer_batches:
            peer.time(batch)
    samples = sum(batch.wave_BS.numel() for batch in prepared)
    padding = 1 - sum(int(batch.samples_B.sum()) for batch in prepared) / samples
    systems, head = [system for system in (ours, peer) if system], []
    rows, typical = [system.row() for system in systems], prepared[len(prepared) // 2]
    if args.device != "cpu":
        head = ["GPU busy"]
        rows = [[*row, system.busy(typical)] for row, system in zip(rows, systems)]
    if ours and peer:
        rows.append(["ours is faster by", rows[0][1] / rows[1][1], *[""] * (4 + len(head))])
    print(
        f"{machine(args.device)}; {args.model}, {args.dtype}, batch {args.batch_size}, pad {args.pad}; of a batch "
        f"{100 * padding:.1f} % is padding"
    )
    facts = {"model": args.model, "device": machine(args.device), "dtype": args.dtype, "pad": args.pad}
    facts |= {"padding": padding, "compile": args.compile, "activation_checkpointing": args.activation_checkpointing}
    facts |= {"bfloat16_weights": args.bfloat16_weights, "graphs": bool(ours and ours.graphs)}
    if args.device != "cpu":
        facts["peak GFLOP/s"] = peak_rate(args.device, getattr(torch, args.dtype)) / 1e9
    report(
        {"benchmark": "train"} | facts,
        systems=[["system", "utt/s", "s/step", "GFLOP/s", "products alone", "utilisation", *head], *rows],
    )


if __name__ == "__main__":
    main()
