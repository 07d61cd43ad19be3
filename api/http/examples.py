"""Examples of all bodies and answers, for the OpenAPI document. A test holds each against its schema."""

from __future__ import annotations

from typing import Any, Final

_AT: Final = "2026-03-02T09:30:00.000000Z"

_DECISION_IN: Final = {
    "route": "quickstart",
    "prompt": "Where is my parcel?",
    "id": "order-17",
    "task": "shipping",
    "attributes": {"tier": "gold"},
    "session_id": "chat-3",
    "constraints": {"max_cost_usd": 0.02, "ignore": ["acme/*"]},
    "objective": {"dial": 5},
}
_OUTCOME_IN: Final = {
    "served_provider": "small",
    "usage": {"input_tokens": 120, "output_tokens": 300, "cached_tokens": 100, "reasoning_tokens": 40},
    "latency_s": 1.4,
    "ttft_s": 0.3,
}
_FEEDBACK_IN: Final = {"decision_id": "order-17", "value": 1.0, "source": "human", "comment": "Solved it."}
_PROVIDER: Final = {
    "name": "openai/gpt-5-mini",
    "capabilities": ["tools", "vision"],
    "context_window_tokens": 400_000,
    "tags": ["eu"],
    "paused": False,
}
_PRICE: Final = {
    "provider": "openai/gpt-5-mini",
    "input_usd_per_mtok": 0.25,
    "output_usd_per_mtok": 2.0,
    "cached_usd_per_mtok": 0.025,
    "per_call_usd": 0.0,
    "effective_at": "2026-04-01T00:00:00Z",
}
_ROUTE: Final = {
    "name": "support-chat",
    "providers": ["small", "large"],
    "default_provider": "large",
    "objective": {"willingness_to_pay_usd": 0.01, "latency_weight": 0.02},
    "budget": {"usd_per_request": 0.002},
    "constraints": {"deny": ["*-preview"], "max_latency_s": 20.0},
    "metrics": [
        {"name": "solved", "low": 0.0, "high": 1.0, "higher_is_better": True, "weight": 2.0},
        {"name": "stars", "low": 1.0, "high": 5.0, "higher_is_better": True, "weight": 1.0},
    ],
    "sources": {"human": 3.0, "judge": 1.0, "code": 1.0},
    "reward_wait_s": 86_400.0,
    "reward_default": 0.0,
}
_KEY: Final = {
    "name": "checkout service",
    "scopes": ["decide", "feedback"],
    "routes": ["support-chat"],
    "sources": ["code"],
    "expires_at": "2027-01-01T00:00:00Z",
    "requests_per_s": 50.0,
}

BODIES: Final[dict[str, Any]] = {
    "DecisionIn": _DECISION_IN,
    "DecisionBatchIn": {"decisions": [_DECISION_IN]},
    "OutcomeIn": _OUTCOME_IN,
    "FeedbackIn": _FEEDBACK_IN,
    "FeedbackBatchIn": {"feedback": [_FEEDBACK_IN, {"session_id": "chat-3", "value": None}]},
    "ProviderIn": _PROVIDER,
    "ProviderPatch": {"paused": True},
    "PriceIn": _PRICE,
    "RouteIn": _ROUTE,
    "RoutePatch": {"budget": {"usd_per_request": 0.003}, "reward_default": None},
    "KeyIn": _KEY,
    "KeyPatch": {"requests_per_s": 100.0, "expires_at": None},
    "RotateIn": {"overlap_s": 3_600},
}
"""By the name of the schema."""

_DECISION: Final = {
    "id": "order-17",
    "created_at": _AT,
    "route": "quickstart",
    "selected": "small",
    "propensity": 0.75,
    "candidates": [
        {
            "provider": name,
            "propensity": propensity,
            "expected": {
                "quality": quality,
                "quality_sd": 0.08,
                "cost_usd": cost_usd,
                "cost_usd_sd": cost_usd / 4,
                "latency_s": latency_s,
                "latency_s_sd": latency_s / 2,
                "failure": 0.0,
            },
            "eligible": True,
            "reason": None,
        }
        for name, propensity, quality, cost_usd, latency_s in (
            ("small", 0.75, 0.7, 0.0001, 1.2),
            ("large", 0.25, 0.74, 0.003, 2.5),
        )
    ],
    "fallbacks": ["large"],
    "explored": False,
    "fallback_used": None,
    "shadow_price": 100.0,
    "model_version": 41,
    "state_seq": 1_204,
    "task": "shipping",
    "session_id": "chat-3",
    "tags": {},
}
_OUTCOME: Final = {
    "id": "out_5f0c2a9d7b3e4c1a",
    "decision_id": "order-17",
    "seq": 1_206,
    "state": "joined",
    "served_provider": "small",
    "cost_usd": 0.000126,
    "priced_by": "price_list",
}
_FEEDBACK: Final = {
    "id": "fb_0a1b2c3d4e5f6071",
    "seq": 1_207,
    "state": "joined",
    "decision_ids": ["order-17"],
}
_PROVIDER_OUT: Final = {**_PROVIDER, "price_id": "price_9d1c", "routes": ["support-chat"]}
_PRICE_OUT: Final = {
    **_PRICE,
    "id": "price_9d1c",
    "effective_from": "2026-04-01T00:00:00.000000Z",
    "in_force": False,
}
_ROUTE_OUT: Final = {**_ROUTE, "feature_width": 60}
_KEY_OUT: Final = {**_KEY, "id": "5d2f9c0e1a7b"}
_PAUSED: Final = {**_PROVIDER, "paused": True}


def _page(item: dict[str, Any]) -> dict[str, Any]:
    return {"items": [item], "next_cursor": None}


ANSWERS: Final[dict[str, Any]] = {
    "DecisionOut": _DECISION,
    "DecisionBatchOut": {"decisions": [{"status": 200, "decision": _DECISION, "problem": None}]},
    "DecisionFullOut": {
        "decision": _DECISION,
        "events": [
            {
                "seq": 1_206,
                "kind": "outcome",
                "at": _AT,
                "body": {
                    "served_provider": "small",
                    "cost_usd": 0.000126,
                    "priced_by": "price_list",
                    "input_tokens": 120,
                    "output_tokens": 300,
                    "cached_tokens": 100,
                    "latency_s": 1.4,
                    "status": "ok",
                    "ttft_s": 0.3,
                    "reasoning_tokens": 40,
                },
            },
            {
                "seq": 1_207,
                "kind": "feedback",
                "at": _AT,
                "body": {"metric": "quality", "value": 1.0, "source": "human", "comment": "Solved it."},
            },
        ],
        "status": "open",
    },
    "OutcomeOut": _OUTCOME,
    "FeedbackOut": _FEEDBACK,
    "FeedbackBatchOut": {"feedback": [{"status": 200, "feedback": _FEEDBACK, "problem": None}]},
    "ProviderOut": _PROVIDER_OUT,
    "ProviderListOut": _page(_PROVIDER_OUT),
    "PriceOut": _PRICE_OUT,
    "PriceListOut": _page(_PRICE_OUT),
    "RouteOut": _ROUTE_OUT,
    "RouteListOut": _page(_ROUTE_OUT),
    "KeyOut": _KEY_OUT,
    "KeyListOut": _page(_KEY_OUT),
    "KeyMadeOut": {"id": "5d2f9c0e1a7b", "key": "flk_5d2f9c0e1a7b.SECRET", "seq": 12},
    "ChangeOut": {
        "preview": False,
        "seq": 12,
        "entity": "provider",
        "id": _PROVIDER["name"],
        "routes": ["support-chat"],
        "before": _PROVIDER,
        "after": _PAUSED,
    },
    "AuditListOut": _page(
        {
            "seq": 12,
            "at": _AT,
            "by": "5d2f9c0e1a7b",
            "entity": "provider",
            "id": _PROVIDER["name"],
            "action": "put",
            "body": _PAUSED,
        }
    ),
    "RouteStateOut": {
        "route": "support-chat",
        "ready": True,
        "broken": None,
        "seq": 1_207,
        "age_s": 0.0,
        "decisions": 400,
        "fallbacks": 0,
        "explored": 31,
        "open_decisions": 380,
        "spent_usd": 0.21,
        "trust": {"task@300": 0.81, "none": 0.19},
        "shadow_price": 100.0,
        "budget_usd_per_request": 0.002,
        "budget_spent_usd": 0.21,
        "newcomer_share": 0.2,
        "providers": {
            "small": {
                "quality": 0.7,
                "quality_sd": 0.03,
                "cost_usd": 0.0001,
                "latency_s": 1.2,
                "tail_latency_s": 3.2,
                "failure": 0.0,
                "feedback": 290,
                "floor": 0.0,
                "newcomer": False,
            }
        },
        "tasks": {
            "shipping": {
                "decisions": 160,
                "providers": {
                    "small": {"propensity": 0.9, "quality": 0.72, "quality_sd": 0.04, "cost_usd": 0.0001}
                },
            }
        },
        "alarms": [
            {
                "provider": "small",
                "quantity": "quality",
                "since_order": 610,
                "at_order": 700,
                "before": 0.82,
                "after": 0.64,
            }
        ],
    },
    "LiveOut": {"status": "alive"},
    "ReadyOut": {
        "ready": True,
        "progress": 1.0,
        "seq": 1_207,
        "age_s": 0.0,
        "writing": True,
        "problem": None,
    },
}
"""By the name of the schema."""

REBUILDING: Final = {**ANSWERS["ReadyOut"], "ready": False, "progress": 0.4, "seq": 480, "age_s": 3.1}

DETAILS: Final[dict[int, str]] = {
    400: "The body is not one whole JSON value in UTF-8, or is nested too deep.",
    401: "The key is not known, or was rotated or removed.",
    403: "The key lacks the scope 'admin'.",
    404: "There is no route of this name.",
    408: "The body took more than 10 s.",
    409: "The id belongs to another request: give each request its own.",
    410: "The route waits 604800 s for what comes of a decision.",
    413: "A body may have 1,048,576 bytes: send an excerpt, or features.",
    415: "Send JSON, with the header Content-Type: application/json.",
    422: "1 error in the request.",
    429: "The key has sent its share of feedback.",
    500: "The request could not be served; the process goes on.",
    503: "As many requests as may be are being answered.",
}
"""What a problem of each status may say."""
