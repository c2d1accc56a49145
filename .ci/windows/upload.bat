@echo off
rem Uploads the files and directories that are dropped on this file; with a double click, the config's upload_dir.
rem In UTF-8, so that Chinese names are shown as they are.
chcp 65001 >nul
cd /d "%~dp0"
set recursive=
if not "%~1"=="" set recursive=-r
wx-upload.exe %recursive% %*
pause
