"""Where model files are kept between pods."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from smart_embedder_operator.spec.fields import QUANTITY, Name, Piece, Rule, Text, says

Size = Annotated[str, Meta(max_length=32, pattern=QUANTITY)]


class Cache(Piece, frozen=True, kw_only=True):
    """The model cache of the pods."""

    type: Annotated[
        Literal["EmptyDir", "PVC", "ExistingClaim", "Image"],
        says(
            "EmptyDir downloads in every pod. PVC keeps files on a volume made for the Embedder. "
            "ExistingClaim mounts a claim of yours. Image mounts an OCI image that holds the "
            "models (Kubernetes 1.35, or 1.33 with its ImageVolume feature)."
        ),
    ] = "EmptyDir"
    size: Annotated[
        Size | None,
        says("Size of the volume, or most that EmptyDir may hold. Default for a PVC: 20Gi."),
    ] = None
    storage_class_name: Annotated[
        Name | None, says("StorageClass of the PVC. Unset takes the cluster's default.")
    ] = None
    access_mode: Annotated[
        Literal["ReadWriteOnce", "ReadWriteMany"] | None,
        says("ReadWriteMany lets pods on several nodes share the PVC. Default: ReadWriteOnce."),
    ] = None
    claim_name: Annotated[Name | None, says("The claim to mount. For ExistingClaim.")] = None
    image: Annotated[Text | None, says("The OCI image that holds the models. For Image.")] = None
    read_only: Annotated[
        bool, says("Mount the existing claim read-only, so that many nodes may share it.")
    ] = False
    prewarm: Annotated[
        bool,
        says("Download the models into the PVC by a Job before the pods need them."),
    ] = False
    retain: Annotated[
        bool, says("Keep the PVC when the Embedder is deleted or its models change.")
    ] = False

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.type) && self.type == 'ExistingClaim') == has(self.claimName)",
            "spec.cache.claimName belongs to type ExistingClaim: write both or neither",
            lambda cache: (cache.type == "ExistingClaim") == (cache.claim_name is not None),
        ),
        Rule(
            "(has(self.type) && self.type == 'Image') == has(self.image)",
            "spec.cache.image belongs to type Image: write both or neither",
            lambda cache: (cache.type == "Image") == (cache.image is not None),
        ),
        Rule(
            "(has(self.type) && self.type == 'PVC') || "
            "(!has(self.storageClassName) && !has(self.accessMode) && "
            "!(has(self.prewarm) && self.prewarm) && !(has(self.retain) && self.retain))",
            "spec.cache.storageClassName, accessMode, prewarm and retain belong to type PVC",
            lambda cache: (
                cache.type == "PVC"
                or not (
                    cache.storage_class_name or cache.access_mode or cache.prewarm or cache.retain
                )
            ),
        ),
        Rule(
            "!(has(self.readOnly) && self.readOnly) || "
            "(has(self.type) && self.type == 'ExistingClaim')",
            "spec.cache.readOnly belongs to type ExistingClaim",
            lambda cache: not cache.read_only or cache.type == "ExistingClaim",
        ),
        Rule(
            "!has(oldSelf.storageClassName) || !has(self.storageClassName) || "
            "self.storageClassName == oldSelf.storageClassName",
            "a volume cannot change its StorageClass: set spec.cache.type to EmptyDir first, and "
            "then to PVC with the new class",
        ),
        Rule(
            "!has(oldSelf.size) || !has(self.size) || !isQuantity(self.size) || "
            "!isQuantity(oldSelf.size) || "
            "quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0 || "
            "!(has(self.type) && self.type == 'PVC')",
            "a volume cannot shrink: keep spec.cache.size or make it larger",
        ),
    )
