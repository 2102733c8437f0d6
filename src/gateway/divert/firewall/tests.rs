//! Chains as firewalls have them, each as `nft` or `iptables-save` lists it.
