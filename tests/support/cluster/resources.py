"""The kinds that the cluster serves, as discovery lists them."""

from __future__ import annotations

from tests.support.cluster.schemas import Resource

CORE = tuple(
    Resource("", "v1", kind, plural, namespaced, short)
    for kind, plural, namespaced, short in (
        ("Namespace", "namespaces", False, ("ns",)),
        ("Node", "nodes", False, ("no",)),
        ("PersistentVolume", "persistentvolumes", False, ("pv",)),
        ("Pod", "pods", True, ("po",)),
        ("Service", "services", True, ("svc",)),
        ("ConfigMap", "configmaps", True, ("cm",)),
        ("Secret", "secrets", True, ()),
        ("ServiceAccount", "serviceaccounts", True, ("sa",)),
        ("Event", "events", True, ("ev",)),
        ("Endpoints", "endpoints", True, ("ep",)),
        ("PersistentVolumeClaim", "persistentvolumeclaims", True, ("pvc",)),
        ("ResourceQuota", "resourcequotas", True, ("quota",)),
        ("LimitRange", "limitranges", True, ("limits",)),
    )
)
APPS = tuple(
    Resource("apps", "v1", kind, plural, True, short, scale)
    for kind, plural, short, scale in (
        ("Deployment", "deployments", ("deploy",), True),
        ("ReplicaSet", "replicasets", ("rs",), True),
        ("StatefulSet", "statefulsets", ("sts",), True),
        ("DaemonSet", "daemonsets", ("ds",), False),
    )
)
REST = tuple(
    Resource(group, version, kind, plural, namespaced, short)
    for group, version, kind, plural, namespaced, short in (
        ("batch", "v1", "Job", "jobs", True, ()),
        ("batch", "v1", "CronJob", "cronjobs", True, ("cj",)),
        ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True, ("hpa",)),
        ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, ("pdb",)),
        ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", True, ("netpol",)),
        ("networking.k8s.io", "v1", "Ingress", "ingresses", True, ("ing",)),
        ("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False, ("pc",)),
        ("coordination.k8s.io", "v1", "Lease", "leases", True, ()),
        ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", True, ()),
        ("storage.k8s.io", "v1", "StorageClass", "storageclasses", False, ("sc",)),
        ("rbac.authorization.k8s.io", "v1", "Role", "roles", True, ()),
        ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", True, ()),
        ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False, ()),
        ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False, ()),
        ("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", False, ()),
        ("resource.k8s.io", "v1", "DeviceClass", "deviceclasses", False, ()),
        ("resource.k8s.io", "v1", "ResourceClaimTemplate", "resourceclaimtemplates", True, ()),
        ("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims", True, ()),
        ("resource.k8s.io", "v1", "ResourceSlice", "resourceslices", False, ()),
    )
)
BUILT_IN: tuple[Resource, ...] = (*CORE, *APPS, *REST)
DEFINITION = Resource(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False, ("crd",)
)
"""Served by clusters that take custom resources while they run."""
