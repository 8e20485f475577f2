"""A page in the browser: microphone or file in; transcript, emotion and probabilities out.

    whisper-er demo --model exp/mini/fold1

The page is for this machine alone. --host 0.0.0.0 opens it to everyone who reaches this machine, without a password;
browsers then give it no microphone, unless a proxy of yours adds HTTPS. Nothing is loaded from elsewhere and nothing
reported; recordings are deleted after ten minutes and when the server ends.
"""

import math
from contextlib import suppress

from whisper_er.base.errors import UserError
from whisper_er.bin import add_recognizer_arguments, make_parser, open_recognizer, run
from whisper_er.demo.page import Limits, find_gradio
from whisper_er.demo.server import is_loopback, listen, serve, uploads
from whisper_er.process.memory import DECODING


def main() -> None:
    parser = make_parser(__doc__)
    add_recognizer_arguments(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s: this machine alone)")
    parser.add_argument("--port", type=int, default=7860, help="%(default)s; 0: a free one")
    parser.add_argument("--max_mb", type=int, default=64, help="of a recording's file (%(default)s)")
    parser.add_argument("--max_seconds", type=float, default=300, help="of a recording (%(default)s)")
    args = parser.parse_args()
    if args.max_mb < 1 or not 0 < args.max_seconds < math.inf:
        raise UserError(f"--max_mb {args.max_mb} --max_seconds {args.max_seconds:g}: allowed are numbers above 0")
    with suppress(KeyboardInterrupt), uploads(), listen(args.host, args.port) as listener:
        find_gradio()
        recognizer = open_recognizer(args)
        if not is_loopback(args.host):
            print(f"--host {args.host}: everyone who reaches this address can use the page", flush=True)
        serve(recognizer, Limits(args.max_mb, args.max_seconds), listener)


if __name__ == "__main__":
    run(main, DECODING)
