give "$DEP_envoy" envoy
printf 'FROM %s\nCOPY envoy /usr/local/bin/envoy\nCMD ["envoy"]\n' "$I_tools" | image "$I_envoy"
