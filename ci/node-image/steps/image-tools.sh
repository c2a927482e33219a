give "$DEP_rootfs_tools" tools.tar
printf 'FROM scratch\nADD tools.tar /\n' | image "$I_tools"
