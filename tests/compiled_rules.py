"""Compiles the broker's rules when it is imported, so that brokers forked afterwards need not."""

from broker_service.services import request_types
from mesh_runtime.field_rules import FieldRules

FieldRules(request_types())
