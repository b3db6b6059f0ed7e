"""A fleet whose providers take their time to answer: what each integration then costs."""

from __future__ import annotations
