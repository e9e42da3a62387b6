// Not built: config/crd/standard of this module has the kinds of the Gateway API, as its releases carry them.
module outrigger.io/tests/peers/gateway-api

go 1.27.0

require sigs.k8s.io/gateway-api v1.7.0
