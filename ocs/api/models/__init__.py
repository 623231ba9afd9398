"""Bodies of requests and answers (pydantic)."""
