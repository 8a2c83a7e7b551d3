"""The metrics API: the pods' queue depth for the HPA, through the cluster's aggregation layer."""
