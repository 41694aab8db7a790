"""The kubelet's and kube-proxy's configurations: their fields, and when a value that is found is the one that was set.

kubeadm reads both into its own types and writes them again: it drops a field that it does not know, a zero in a field that has no pointer,
and it spells durations and quantities its own way (`60s` is `1m0s`). Sources: k8s.io/kubelet config/v1beta1, k8s.io/kube-proxy config/v1alpha1
of RELEASES (`make releases` holds the tables against them); kubeadm app/componentconfigs.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from ..text.nearest import nearest

Path = tuple[str, ...]

# `name*` is a pointer: without it the field has another meaning than its zero. `name(…)` has fields of its own.
_KUBELET = """
address allowedUnsafeSysctls authentication(anonymous(enabled*) webhook(cacheTTL enabled*) x509(clientCAFile)) authorization(mode
webhook(cacheAuthorizedTTL cacheUnauthorizedTTL)) cgroupDriver cgroupRoot cgroupsPerQOS* clusterDNS clusterDomain
configMapAndSecretChangeDetectionStrategy containerLogMaxFiles* containerLogMaxSize containerLogMaxWorkers* containerLogMonitorInterval*
containerRuntimeEndpoint contentType cpuCFSQuota* cpuCFSQuotaPeriod* cpuManagerPolicy cpuManagerPolicyOptions cpuManagerReconcilePeriod
crashLoopBackOff(maxContainerRestartPeriod*) defaultPodSysctls enableContentionProfiling enableControllerAttachDetach* enableDebugFlagsHandler*
enableDebuggingHandlers* enableProfilingHandler* enableServer* enableSystemLogHandler* enableSystemLogQuery* enforceNodeAllocatable eventBurst
eventRecordQPS* evictionHard evictionMaxPodGracePeriod evictionMinimumReclaim evictionPressureTransitionPeriod evictionSoft
evictionSoftGracePeriod failCgroupV1* failSwapOn* featureGates fileCheckFrequency hairpinMode healthzBindAddress healthzPort* httpCheckFrequency
imageGCHighThresholdPercent* imageGCLowThresholdPercent* imageMaximumGCAge imageMinimumGCAge imagePullCredentialsVerificationPolicy
imageServiceEndpoint iptablesDropBit* iptablesMasqueradeBit* kernelMemcgNotification kubeAPIBurst kubeAPIQPS* kubeReserved kubeReservedCgroup
kubeletCgroups localStorageCapacityIsolation* logging(flushFrequency format options(json(infoBufferSize splitStream) text(infoBufferSize
splitStream)) verbosity vmodule) makeIPTablesUtilChains* maxOpenFiles maxParallelImagePulls* maxPods memoryManagerPolicy memoryReservationPolicy
memorySwap(swapBehavior) memoryThrottlingFactor* mergeDefaultEvictionSettings* nodeLeaseDurationSeconds nodeStatusMaxImages*
nodeStatusReportFrequency nodeStatusUpdateFrequency oomScoreAdj* podCIDR podLogsDir podPidsLimit* podsPerCore port
preloadedImagesVerificationAllowlist protectKernelDefaults providerID qosReserved readOnlyPort registerNode* registerWithTaints registryBurst
registryPullQPS* reservedMemory reservedSystemCPUs resolvConf* rotateCertificates runOnce runtimeRequestTimeout seccompDefault*
serializeImagePulls* serverTLSBootstrap showHiddenMetricsForVersion shutdownGracePeriod shutdownGracePeriodByPodPriority
shutdownGracePeriodCriticalPods singleProcessOOMKill* staticPodPath staticPodURL staticPodURLHeader streamingConnectionIdleTimeout syncFrequency
systemCgroups systemReserved systemReservedCgroup tlsCertFile tlsCipherSuites tlsCurvePreferences tlsMinVersion tlsPrivateKeyFile
topologyManagerPolicy topologyManagerPolicyOptions topologyManagerScope tracing*(endpoint* samplingRatePerMillion*) userNamespaces*(idsPerPod*)
volumePluginDir volumeStatsAggPeriod
"""
_PROXY = """
bindAddress bindAddressHardFail clientConnection(acceptContentTypes burst contentType kubeconfig qps) clusterCIDR configSyncPeriod
conntrack(maxPerCore* min* tcpBeLiberal tcpCloseWaitTimeout* tcpEstablishedTimeout* udpStreamTimeout udpTimeout) detectLocal(bridgeInterface
interfaceNamePrefix) detectLocalMode enableProfiling featureGates healthzBindAddress hostnameOverride iptables(localhostNodePorts* masqueradeAll
masqueradeBit* minSyncPeriod syncPeriod) ipvs(excludeCIDRs minSyncPeriod scheduler strictARP syncPeriod tcpFinTimeout tcpTimeout udpTimeout)
logging(flushFrequency format options(json(infoBufferSize splitStream) text(infoBufferSize splitStream)) verbosity vmodule) metricsBindAddress
mode nftables(masqueradeAll masqueradeBit* minSyncPeriod syncPeriod) nodePortAddresses oomScoreAdj* portRange showHiddenMetricsForVersion
windowsRunAsService winkernel(enableDSR forwardHealthCheckVip networkName rootHnsEndpointName sourceVip)
"""
RELEASES = ("1.35", "1.36", "1.37")  # whose fields these are
# the fields that came after the first of them
SINCE = {"memoryReservationPolicy": "1.36", "tlsCurvePreferences": "1.36", "defaultPodSysctls": "1.37"}

_META = ("apiVersion", "kind")
KUBELET, PROXY = "kubelet", "kube-proxy"
KINDS = {KUBELET: "KubeletConfiguration", PROXY: "KubeProxyConfiguration"}
# what kubeadm itself decides on each node, whatever the configuration says (componentconfigs/kubelet.go, instance-config.yaml)
DECIDED: dict[str, dict[str, Any]] = {
    KUBELET: {"rotateCertificates": True, "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock"},
    PROXY: {},
}


class Fields(dict[str, "Fields"]):
    """The fields of an object by name; `pointers` are those whose absence means something else than zero. Empty: any names."""

    def __init__(self) -> None:
        super().__init__()
        self.pointers: set[str] = set()


@functools.cache
def fields(component: str) -> Fields:
    """All fields of the component's configuration."""
    stack = [Fields()]
    name = ""
    for word in re.findall(r"\w+\*?|[()]", _KUBELET if component == KUBELET else _PROXY):
        if word == "(":
            stack.append(stack[-1][name])
        elif word == ")":
            stack.pop()
        else:
            name = word.rstrip("*")
            stack[-1][name] = Fields()
            if word != name:
                stack[-1].pointers.add(name)
    return stack[0]


def unknown(component: str, config: Mapping[str, Any]) -> str:
    """What is wrong with the names in a configuration: the first that the component does not have, or that kubeadm decides; or empty."""
    for name, value in DECIDED[component].items():
        if name in config and config[name] != value:
            return f"{name} is always {json.dumps(value)} on a node of kubeadm, whatever the {KINDS[component]} says"
    return _unknown(KINDS[component], fields(component), {k: v for k, v in config.items() if k not in _META})


def too_new(config: Mapping[str, Any], minor: str) -> str:
    """What is wrong with a configuration for that minor release ("1.36"): the first field that came later; or empty.

    kubeadm drops it in silence, and the component would never be seen to have it.
    """
    place = RELEASES.index(minor) if minor in RELEASES else len(RELEASES)
    late = next((name for name in config if name in SINCE and RELEASES.index(SINCE[name]) > place), "")
    return f"{late} is a field of Kubernetes {SINCE[late]} and later, and this is {minor}" if late else ""


def _unknown(kind: str, known: Fields, config: Mapping[str, Any], above: str = "") -> str:
    for name, value in config.items():
        if name not in known:
            close = nearest(name, known)
            return f"{above}{name} is no field of the {kind}" + f". Did you mean {above}{close}?" * bool(close)
        if known[name]:
            if value is not None and not isinstance(value, dict):
                return f"{above}{name} has fields of its own: {', '.join(known[name])}"
            if found := _unknown(kind, known[name], value or {}, f"{above}{name}."):
                return found
    return ""


def leaves(config: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The values that a configuration sets, each by its path; an object that is empty is a value, null is none."""
    for name, value in config.items():
        if not above and name in _META:
            continue
        if isinstance(value, dict) and value:
            yield from leaves(value, (*above, name))
        elif value is not None:
            yield (*above, name), value


def at(config: Mapping[str, Any], path: Path) -> Any:
    """The value at a path; None where there is none."""
    found: Any = config
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def without(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The configuration without the value at that path, and without objects that are empty then."""
    name, *rest = path
    inside = config.get(name)
    kept = {key: value for key, value in config.items() if key != name}
    left = without(inside, tuple(rest)) if rest and isinstance(inside, Mapping) else {}
    # in its place, so that a difference shows only what changed
    return {key: (left if key == name else kept[key]) for key in config if key != name or left}


def is_set(component: str, path: Path, found: Any) -> bool:
    """Whether a field that kubeadm wrote says something: a zero in a field without a pointer does not."""
    return found is not None and (bool(found) or _pointer(component, path))


def same(component: str, path: Path, wanted: Any, found: Any) -> bool:
    """Whether the value that kubeadm wrote is the one that was set."""
    if found is None and not wanted:
        return wanted == {} or not _pointer(component, path)
    return _same(wanted, found)


def _pointer(component: str, path: Path) -> bool:
    known = fields(component)
    for name in path[:-1]:
        if not known.get(name):  # in a map every key that is there means something
            return True
        known = known[name]
    return path[-1] in known.pointers or path[-1] not in known


def _same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return all(_same(wanted.get(key), found.get(key)) for key in {*wanted, *found})
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(_same, wanted, found))
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if wanted is None or found is None:  # inside a list's object: a zero is left out
        return not wanted and not found
    return bool(_canonical(wanted) == _canonical(found))


_UNITS = {"ns": 1, "us": 10**3, "\u00b5s": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_SUFFIXES = {
    "n": Decimal(10) ** -9, "u": Decimal(10) ** -6, "m": Decimal(10) ** -3, "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}  # fmt: skip
_DURATION = re.compile(r"(?:\d{1,12}(?:\.\d{1,9})?(?:ns|us|\u00b5s|ms|s|m|h))+")


def _canonical(value: Any) -> Any:
    """Durations and quantities as numbers, the rest as it is; `5m`, which may be either, counts as a duration on both sides."""
    if not isinstance(value, str):
        return value
    if _DURATION.fullmatch(value):
        return sum(Decimal(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([a-z\u00b5]+)", value))
    quantity = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)([num]|[kMGTPE]|[KMGTPE]i)", value)
    return Decimal(quantity[1]) * _SUFFIXES[quantity[2]] if quantity else value
