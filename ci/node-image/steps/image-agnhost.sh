give "$DEP_kube" agnhost
printf 'FROM %s\nCOPY agnhost /agnhost\nRUN mkdir -p /uploads && ln -s agnhost /agnhost-2\nENTRYPOINT ["/agnhost"]\nCMD ["pause"]\n' "$I_tools" | image "$I_agnhost"
