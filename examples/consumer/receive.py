"""Receive the feed by webhook and verify it: `WEBHOOK_SECRET=whsec_… python receive.py PORT`."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


class Receiver(BaseHTTPRequestHandler):
    """Prints each entry once; a message that is not from the feed is refused."""

    feed, position = "", 0

    def do_POST(self) -> None:
        """Answer 204 when the entries are stored, so that they are not sent again."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            message = Webhook(os.environ["WEBHOOK_SECRET"]).verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.send_error(401)
            return
        for entry in message["data"]["entries"]:
            feed, _, number = entry["position"].partition("-")
            if feed != Receiver.feed:  # another installation, or one that was restored
                Receiver.feed, Receiver.position = feed, 0
            if int(number) > Receiver.position:  # less or equal was sent before: at least once
                print(entry["type"], entry.get("key"), flush=True)
                Receiver.position = int(number)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
