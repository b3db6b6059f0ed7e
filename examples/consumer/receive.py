"""Receive the feed by webhook and verify its messages.

Run it with: `WEBHOOK_SECRET=whsec_… python receive.py PORT`
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


class Receiver(BaseHTTPRequestHandler):
    """Prints each entry once, and refuses messages that the feed has not signed."""

    feed, position = "", 0

    def do_POST(self) -> None:
        """Verify a message, print its new entries, and accept it with 204.

        A real receiver stores the entries before it answers: an accepted message is not sent again.
        """
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            message = Webhook(os.environ["WEBHOOK_SECRET"]).verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.send_error(401)
            return
        for entry in message["data"]["entries"]:
            feed, _, number = entry["position"].partition("-")
            if feed != Receiver.feed:  # another installation, or a restored one
                Receiver.feed, Receiver.position = feed, 0
            if int(number) > Receiver.position:  # lower positions were printed before
                print(entry["type"], entry.get("key"), flush=True)
                Receiver.position = int(number)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Do not log requests."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
