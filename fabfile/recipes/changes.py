"""What differs from one minor release of Kubernetes to the next, as far as an upgrade must know it: the one place for such tables.

Sources: the sources of k8s.io/kubernetes 1.35.4, 1.36.3 and 1.37.2, compared (pkg/features and the staging modules' features: names that
are gone, and specs that became locked; cmd/kubelet/app/options/globalflags_linux.go; cmd/kubeadm/app/constants and features; the folders
of k8s.io/api and their prerelease lifecycles), and of etcd's server 3.6.8 and 3.7.1 (embed/config.go); Kubernetes' CHANGELOGs for API
versions without a lifecycle; kubernetes.io "Releases" for the ends of support, KEP-4033 for containerd; etcd's "Upgrade etcd from v3.6 to
v3.7": every member is 3.6.11 or later before the first one is 3.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..records import dataclass

AS_OF = "2026-11-29"  # when these tables were last compared with their sources


@dataclass(frozen=True)
class Change:
    """What a minor release no longer has, against the one before it.

    `gates` are feature gates that its programs do not know: a component that is given one does not start. `locked` are those that have
    one value from now on: with the other one it does not start either. `kubeadm_gates` are the same of ClusterConfiguration.
    `kubelet_flags` and `etcd_flags` are command-line flags (a flag of etcd that ends with `*` is every flag that begins so).
    `apis` are API versions whose objects must be gone before, as no other version takes them over; `dropped` are all that are no longer
    served, which is looked for in requests and in manifests.
    """

    gates: frozenset[str]
    locked: Mapping[str, bool]
    kubeadm_gates: frozenset[str] = frozenset()
    kubelet_flags: frozenset[str] = frozenset()
    etcd_flags: frozenset[str] = frozenset()
    apis: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


_GATES_136 = """
CSIMigrationPortworx HonorPVReclaimPolicy InPlacePodVerticalScalingAllocatedStatus InTreePluginPortworxUnregister MemoryManager
ServiceTrafficDistribution StructuredAuthorizationConfiguration TopologyAwareHints WatchFromStorageWithoutResourceVersion
"""
_GATES_137 = """
APIServerTracing AnonymousAuthConfigurableEndpoints AnyVolumeDataSource AuthorizeNodeWithSelectors AuthorizeWithSelectors BtreeWatchCache
ConsistentListFromCache GangScheduling JobBackoffLimitPerIndex JobPodReplacementPolicy JobSuccessPolicy LogarithmicScaleDown
OrderedNamespaceDeletion PodLifecycleSleepAction PodLifecycleSleepActionAllowZero PreventStaticPodAPIReferences RelaxedDNSSearchValidation
ResilientWatchCacheInitialization RetryGenerateName SchedulerQueueingHints SidecarContainers StreamingCollectionEncodingToJSON
StreamingCollectionEncodingToProtobuf StructuredAuthenticationConfiguration WorkloadAwarePreemption
"""
_ON_136 = """
CSIServiceAccountTokenSecrets DRAAdminAccess DeclarativeValidation DisableNodeKubeProxyVersion ExternalServiceAccountTokenSigner ImageVolume
KubeletFineGrainedAuthz KubeletPSI KubeletPodResourcesDynamicResources KubeletPodResourcesGet MutableCSINodeAllocatableCount NodeLogQuery
ProcMountType SELinuxChangePolicy SELinuxMountReadWriteOncePod TopologyManagerPolicyOptions UserNamespacesSupport VolumeAttributesClass
"""
_ON_137 = """
DRAExtendedResource DRAPrioritizedList DRAResourceClaimDeviceStatus DisableCPUQuotaWithExclusiveCPUs HPAConfigurableTolerance HostnameOverride
InPlacePodVerticalScalingInitContainers NodeDeclaredFeatures PLEGOnDemandRelist PodReadyToStartContainersCondition
RelaxedServiceNameValidation WatchCacheInitializationPostStartHook
"""
# cAdvisor's, which the kubelet had registered by mistake (kubernetes 139870)
_FLAGS_137 = """
application-metrics-count-limit boot-id-file container-hints containerd containerd-namespace enable-load-reader event-storage-age-limit
event-storage-event-limit global-housekeeping-interval log-cadvisor-usage machine-id-file storage-driver-buffer-duration storage-driver-db
storage-driver-host storage-driver-password storage-driver-secure storage-driver-table storage-driver-user
"""
CHANGES: Mapping[str, Change] = {
    "1.36": Change(
        gates=frozenset(_GATES_136.split()),
        locked=dict.fromkeys(_ON_136.split(), True) | {"GitRepoVolumeDriver": False, "SeparateCacheWatchRPC": False},
        kubeadm_gates=frozenset({"ControlPlaneKubeletLocalMode"}),
        apis=("scheduling.k8s.io/v1alpha1",),
        dropped=("scheduling.k8s.io/v1alpha1",),
    ),
    "1.37": Change(
        gates=frozenset(_GATES_137.split()),
        locked=dict.fromkeys(_ON_137.split(), True) | {"DeclarativeValidationTakeover": False},
        kubeadm_gates=frozenset({"NodeLocalCRISocket", "PublicKeysECDSA"}),
        kubelet_flags=frozenset(_FLAGS_137.split()),
        etcd_flags=frozenset({"experimental-*", "discovery", "discovery-proxy"}),
        apis=("scheduling.k8s.io/v1alpha2",),
        dropped=(
            "scheduling.k8s.io/v1alpha2",
            "certificates.k8s.io/v1alpha1",
            "networking.k8s.io/v1beta1",
            "storage.k8s.io/v1beta1",
        ),
    ),
}
# The least release that every member of etcd must have before the first one is of the line that is the key.
ETCD_BEFORE: Mapping[str, str] = {"3.7": "3.6.11"}
# What may be rolled in before, newest first: the registry says which of them it has.
ETCD_STEPS: Mapping[str, tuple[str, ...]] = {"3.7": tuple(f"3.6.{patch}-0" for patch in range(24, 10, -1))}
# The least major release of containerd with which the kubelet works: an older one does not tell it the cgroup driver (KEP-4033).
CONTAINERD: Mapping[str, int] = {"1.38": 2}


# What kubeadm of a release runs beside Kubernetes' own images: tags of etcd and CoreDNS. A later patch release may have later ones.
IMAGES: Mapping[str, tuple[str, str]] = {
    "1.35": ("etcd:3.6.6-0", "coredns/coredns:v1.13.1"),
    "1.36": ("etcd:3.6.8-0", "coredns/coredns:v1.14.2"),
    "1.37": ("etcd:3.7.0-0", "coredns/coredns:v1.14.6"),
}
# When the support of a minor release ends, by kubernetes.io.
SUPPORT: Mapping[str, str] = {
    "1.33": "2026-06-28", "1.34": "2026-10-27", "1.35": "2027-02-28", "1.36": "2027-06-28", "1.37": "2027-10-28",
}  # fmt: skip


def numbers(version: str) -> tuple[int, ...]:
    """A release or an image's tag as numbers that can be compared: (1, 36, 4) of "1.36.4" and "v1.36.4", (3, 6, 8) of "3.6.8-0".

    Empty for what is no version; a build's suffix ("-1.1", "+k3s1") does not count.
    """
    words = version.removeprefix("v").replace("+", "-").split("-")[0].split(".")
    return tuple(int(word) for word in words) if all(word.isdigit() and len(word) < 7 for word in words) else ()


def minor_of(version: str) -> str:
    """The minor release of a version: "1.36" of "1.36.4"."""
    return ".".join(version.removeprefix("v").split(".")[:2])


def next_minor(version: str) -> str:
    """The minor release after that of a version: "1.37" after "1.36.4"; empty for what is no version."""
    found = numbers(version)
    return f"{found[0]}.{found[1] + 1}" if len(found) > 1 else ""


def between(old: str, new: str) -> Iterator[str]:
    """The minor releases that an upgrade from one version to another enters: "1.37" from 1.36.4 to 1.37.2, none within 1.36."""
    before, after = numbers(old)[:2], numbers(new)[:2]
    if len(before) == len(after) == 2 and before[0] == after[0]:
        yield from (f"{after[0]}.{one}" for one in range(before[1] + 1, after[1] + 1))


def etcd_of(minor: str) -> str:
    """The release of etcd that kubeadm of a minor release runs, "3.7.0" of "1.37"; empty where that is not known."""
    return IMAGES[minor][0].partition(":")[2].partition("-")[0] if minor in IMAGES else ""


def unknown(minors: Iterable[str]) -> list[str]:
    """Of those minor releases, the ones without a table here: what they drop is not known."""
    return [one for one in minors if one not in CHANGES]
