"""Which services a process serves: those that distributions announce, and those it is pointed to."""

import importlib
import inspect
import os
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Protocol, runtime_checkable

from mesh_runtime.startup_errors import StartupError
from provider_service.services.service import InvalidOption, Service, ServiceFactory
from provider_service.settings import Settings, options_of

SERVICES_GROUP: Final = "iap_mesh.services"


@runtime_checkable
class DeclaredService(Protocol):
    """What the SDK's decorator makes; named here so that nothing of the SDK is loaded for services without it."""

    @property
    def name(self) -> str:
        """The slug that requests name the service by."""

    def create_service(self, options: Mapping[str, str]) -> Service:
        """Makes the service that is served with these options. Raises InvalidOption."""


def find_services() -> dict[str, EntryPoint]:
    """Returns the services that installed distributions offer, by name. Raises StartupError if two share a name."""
    found: dict[str, EntryPoint] = {}
    for entry_point in entry_points(group=SERVICES_GROUP):
        other = found.setdefault(entry_point.name, entry_point)
        if other.value != entry_point.value:
            raise _two_of_one_name(entry_point.name, other.value, entry_point.value)
    return found


def create_services(settings: Settings, found: Mapping[str, EntryPoint]) -> list[Service]:
    """Makes the services that the settings name, or all. Raises StartupError, which names the one that is wrong."""
    declared = _load_declared(settings.service_references)
    names = _choose_names(settings, found, declared)
    for service, option in settings.options:
        if service not in names:
            raise StartupError(f"--option {service}.{option}: the service {service!r} is not served here")
    known_services = {*found, *declared}
    return [
        _create_service(name, declared.get(name) or found[name], options_of(name, settings, known_services))
        for name in names
    ]


def _choose_names(
    settings: Settings, found: Mapping[str, EntryPoint], declared: Mapping[str, DeclaredService]
) -> list[str]:
    if settings.service_names is None:
        names = sorted(declared) if declared else sorted(found)
    else:
        names = [*settings.service_names, *sorted(declared)]
    if not names:
        raise StartupError(f"no services are installed: nothing is in the entry point group {SERVICES_GROUP}")
    for name in settings.service_names or ():
        if name not in found:
            raise StartupError(f"unknown service {name!r}: there are {', '.join(sorted(found)) or 'none'}")
        if name in declared:
            raise StartupError(f"the service {name} is named by --service and --services; one of them is enough")
    return names


def _load_declared(references: tuple[str, ...]) -> dict[str, DeclaredService]:
    if not references:
        return {}
    # As `python -m` would have it, whichever command this is.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - a path of the import system is text
    declared: dict[str, DeclaredService] = {}
    origins: dict[str, str] = {}
    for reference in references:
        service = _load(reference)
        if service.name in declared:
            raise _two_of_one_name(service.name, origins[service.name], reference)
        declared[service.name] = service
        origins[service.name] = reference
    return declared


def _load(reference: str) -> DeclaredService:
    module_name, _, name = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _not_imported(reference, error) from error
        raise StartupError(
            f"--service {reference}: there is no module {error.name}, neither in this directory nor installed"
        ) from error
    except Exception as error:
        raise _not_imported(reference, error) from error
    if not hasattr(module, name):
        raise StartupError(f"--service {reference}: the module {module_name} has no {name}")
    service = getattr(module, name)
    if isinstance(service, type) or not isinstance(service, DeclaredService):
        raise StartupError(f"--service {reference}: {name} is no service; write @service(…) above the function")
    return service


def _create_service(name: str, origin: EntryPoint | DeclaredService, options: Mapping[str, str]) -> Service:
    try:
        service = _find_factory(name, origin)(options)
    except InvalidOption as error:
        raise StartupError(f"option {name}.{error.option} {error.description}") from error
    except StartupError:
        raise
    except Exception as error:
        raise StartupError(f"the service {name} cannot be started: {type(error).__name__}: {error}") from error
    if service.name != name:
        raise StartupError(f"the service {name} calls itself {service.name!r}; its entry point has to have that name")
    return service


def _find_factory(name: str, origin: EntryPoint | DeclaredService) -> ServiceFactory:
    """Returns what makes the service. An entry point names a function that does, or a function that is the service."""
    offered: Any = origin.load() if isinstance(origin, EntryPoint) else origin
    if inspect.iscoroutinefunction(offered) or inspect.isasyncgenfunction(offered):
        raise StartupError(f"the service {name} is a bare function; write @service(…) above it")
    factory: ServiceFactory = getattr(offered, "create_service", offered)
    return factory


def _not_imported(reference: str, error: Exception) -> StartupError:
    return StartupError(f"--service {reference} cannot be imported: {type(error).__name__}: {error}")


def _two_of_one_name(name: str, one: str, other: str) -> StartupError:
    return StartupError(f"two services are named {name}: {one} and {other}")
