//! Node networking: endpoints, node routes, masquerading; answers the plugin.
